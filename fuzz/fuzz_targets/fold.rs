//! Fuzz target: any bodies, one after the other, as the fold takes them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bodies: &[u8]| testkit::promises::fold(bodies));
