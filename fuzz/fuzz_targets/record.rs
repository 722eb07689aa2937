//! Fuzz target: any delivery, and any private bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::promises::record(bytes));
