//! Fuzz target: any body, as the door reads it.
#![no_main]

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|body: &[u8]| promises::envelope(body));
