//! Fuzz target: any body, as the door reads it.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| testkit::promises::envelope(body));
