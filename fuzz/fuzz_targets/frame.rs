//! Fuzz target: any deliveries in a frame, and any bytes as a frame.
#![no_main]

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::frame(bytes));
