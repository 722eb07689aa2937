//! Signed numbers and lengths in as few bytes as they need, built on the varints of `storage`. Knows no format.

use crate::storage::{DecodeError, Take};

/// Length of the longest varint.
pub(super) const BYTES_MAX: usize = 10;

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Reads a length of at most `max`.
pub(super) fn take_length(from: &mut Take<'_>, max: usize) -> Result<usize, DecodeError> {
    let length = usize::try_from(from.varint()?).ok().filter(|length| *length <= max);
    length.ok_or(DecodeError("a length is too large"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::Put as _;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, small in 0..1000_u64, signed: i64) {
            for value in [value, small, zigzag(signed)] {
                let mut out = Vec::new();
                out.put_varint(value);
                prop_assert!(out.len() <= BYTES_MAX);
                prop_assert_eq!(Take(&out).varint(), Ok(value));
            }
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }
    }

    #[test]
    fn a_number_that_is_too_large_is_refused() {
        assert!(Take(&[0xff; 20]).varint().is_err() && Take(&[0xff; 3]).varint().is_err());
        assert!(take_length(&mut Take(&[9]), 8).is_err());
    }
}
