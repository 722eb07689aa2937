//! Owns the compact encoding of numbers and texts. Knows no entity and no file.
//!
//! ```text
//! number  LEB128
//! text    0 ‖ 16 B: 32 hex digits, or 1 ‖ 16 B: a UUID, or length + 2 ‖ the bytes
//! ```

use std::sync::Arc;

use crate::fold::entities::Id;
use crate::storage::{DecodeError, Put, Take};

const HEX: u8 = 0;
const UUID: u8 = 1;
/// Offset added to the length of a text that is not packed.
const PLAIN: u64 = 2;

/// Takes a count of items that take at least one byte each. A count larger than the number of bytes left is an error.
pub fn take_count(from: &mut Take<'_>) -> Result<usize, DecodeError> {
    let count = usize::try_from(from.varint()?).map_err(|_| DecodeError("a count is too large"))?;
    if count <= from.0.len() { Ok(count) } else { Err(DecodeError("a count is too large")) }
}

/// Appends a text: packed if possible, else plain.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    let (kind, digits) = match Id::packed(text) {
        Some(Id::Hex(digits)) => (HEX, digits),
        Some(Id::Uuid(digits)) => (UUID, digits),
        _ => return put_plain(out, text),
    };
    out.put_u8(kind);
    for half in digits {
        out.put_u64(half);
    }
}

/// Appends a text without packing. For a text that also occurs inside another text: a compressor sees the repetition
/// only if both are plain.
pub fn put_plain(out: &mut Vec<u8>, text: &str) {
    out.put_varint(text.len() as u64 + PLAIN);
    out.put(text.as_bytes());
}

pub fn take_text(from: &mut Take<'_>) -> Result<Arc<str>, DecodeError> {
    match from.varint()? {
        0 => Ok(Id::Hex([from.u64()?, from.u64()?]).text()),
        1 => Ok(Id::Uuid([from.u64()?, from.u64()?]).text()),
        len => {
            let bytes = from.bytes(usize::try_from(len - PLAIN).map_err(|_| DecodeError("a text is too long"))?)?;
            std::str::from_utf8(bytes).map(Arc::from).map_err(|_| DecodeError("text is not UTF-8"))
        }
    }
}

/// Maps numbers near zero, positive or negative, to small numbers.
pub fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

/// Inverse of [`zigzag`].
pub fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}
