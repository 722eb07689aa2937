//! Fuzz target: any text to pack, and any bytes to unpack.
#![no_main]

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::packing(bytes));
