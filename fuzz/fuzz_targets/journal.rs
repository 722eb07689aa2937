//! Fuzz target: any damage to the values of a journal, any bytes between them, and any bytes as its file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::promises::journal(bytes));
