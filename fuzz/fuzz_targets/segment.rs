//! Fuzz target: any damage to a segment, and any bytes as a segment.
#![no_main]

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::segment(bytes));
