//! Fuzz target: any delivery, and any private bytes.
#![no_main]

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::record(bytes));
