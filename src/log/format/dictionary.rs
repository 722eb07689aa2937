//! The dictionaries that records are compressed with, by number. They are compiled in, and made of synthetic texts only: one
//! that is trained on real bodies keeps parts of them, which no erasure reaches. A number keeps its bytes for ever.

/// What records are compressed with now.
pub(super) const NUMBER: u16 = 1;
pub(super) const BYTES: &[u8] = include_bytes!("dictionary1.bin");
