//! Any deliveries in a frame, and any bytes as one.
#![no_main]

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::frame(bytes));
