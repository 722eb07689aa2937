//! Fuzz target: any deliveries in a frame, and any bytes as a frame.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::promises::frame(bytes));
