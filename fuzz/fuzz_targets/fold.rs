//! Fuzz target: any bodies, one after the other, as the fold takes them.
#![no_main]

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bodies: &[u8]| promises::fold(bodies));
