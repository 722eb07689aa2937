//! Fuzz target: any text to pack, and any bytes to unpack.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::promises::packing(bytes));
