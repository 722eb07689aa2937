//! Fuzz target: any damage to a segment, and any bytes as a segment.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::promises::segment(bytes));
