//! Numbers in as few bytes as they need, seven bits a byte, lowest first; signed ones in zigzag. Knows no format.

use crate::storage::{Garbled, Put as _, Take};

/// The longest one.
pub(super) const BYTES_MAX: usize = 10;

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or_default());
}

pub(super) fn take_varint(from: &mut Take<'_>) -> Result<u64, Garbled> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = from.u8()?;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            break;
        }
        value |= part << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Garbled("a number is too large"))
}

/// A length of at most `max`.
pub(super) fn take_length(from: &mut Take<'_>, max: usize) -> Result<usize, Garbled> {
    let length = usize::try_from(take_varint(from)?).ok().filter(|length| *length <= max);
    length.ok_or(Garbled("a length is too large"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, small in 0..1000_u64, signed: i64) {
            for value in [value, small, zigzag(signed)] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                prop_assert!(out.len() <= BYTES_MAX);
                prop_assert_eq!(take_varint(&mut Take(&out)), Ok(value));
            }
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }
    }

    #[test]
    fn a_number_that_is_too_large_is_refused() {
        assert!(take_varint(&mut Take(&[0xff; 20])).is_err() && take_varint(&mut Take(&[0xff; 3])).is_err());
        assert!(take_length(&mut Take(&[9]), 8).is_err());
    }
}
