//! Any harm to a segment, and any bytes as one.
#![no_main]

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::segment(bytes));
