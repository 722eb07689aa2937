//! Owns ids as keys, in the order of their texts. Most ids are UUIDs or 32 hex digits, which take 16 bytes inline.
//! Knows no entity.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::event::bounded;

/// An opaque id. Equality and order are those of its text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Id {
    /// Id of no entity, before all others.
    Empty,
    /// 32 lower-case hex digits.
    Hex(Digits),
    /// Like [`Self::Hex`], but with dashes as in a UUID.
    Uuid(Digits),
    Text(Arc<str>),
}

/// 32 hex digits, the first half first. Two comparisons of numbers give their order.
pub type Digits = [u64; 2];

/// Offset of each pair of digits.
const HEX: [usize; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
const UUID: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
/// Offsets of the dashes in a UUID.
const DASHES: [usize; 4] = [8, 13, 18, 23];

impl Id {
    /// Returns the key of a text. Keeps `text` itself only if it cannot be packed.
    pub fn of(text: &Arc<str>) -> Self {
        Self::packed(text).unwrap_or_else(|| Self::Text(text.clone()))
    }

    /// Returns the key for a lookup. A text that is too long is shortened as entities shorten it.
    pub fn find(text: &str) -> Self {
        Self::packed(text).unwrap_or_else(|| Self::Text(Arc::from(bounded(text))))
    }

    pub fn packed(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        match bytes.len() {
            0 => Some(Self::Empty),
            32 => digits(bytes, &HEX).map(Self::Hex),
            36 if DASHES.iter().all(|at| bytes[*at] == b'-') => digits(bytes, &UUID).map(Self::Uuid),
            _ => None,
        }
    }

    pub fn text(&self) -> Arc<str> {
        match self {
            Self::Text(text) => text.clone(),
            packed => packed.with_text(|text| text.into()),
        }
    }

    fn with_text<T>(&self, look: impl FnOnce(&str) -> T) -> T {
        let mut text = [b'-'; 36];
        let len = match self {
            Self::Text(text) => return look(text),
            Self::Empty => 0,
            Self::Hex(digits) => write(&mut text, *digits, &HEX),
            Self::Uuid(digits) => write(&mut text, *digits, &UUID),
        };
        // The text has only digits and dashes.
        look(std::str::from_utf8(&text[..len]).unwrap_or_default())
    }
}

/// Value of each hex digit. All other bytes have a bit that no digit has.
const VALUES: [u8; 256] = {
    let mut values = [0x10; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

fn digits(text: &[u8], pairs: &[usize; 16]) -> Option<Digits> {
    let mut digits = [0; 2];
    let mut all = 0;
    for (half, pairs) in digits.iter_mut().zip(pairs.chunks(8)) {
        for at in pairs {
            let (high, low) = (VALUES[usize::from(text[*at])], VALUES[usize::from(text[at + 1])]);
            all |= high | low;
            *half = *half << 8 | u64::from(high << 4 | low);
        }
    }
    (all < 0x10).then_some(digits)
}

/// Writes the text of the digits. Returns its length.
fn write(out: &mut [u8; 36], digits: Digits, pairs: &[usize; 16]) -> usize {
    let bytes = digits.into_iter().flat_map(u64::to_be_bytes);
    for (byte, at) in bytes.zip(pairs) {
        out[*at] = b"0123456789abcdef"[usize::from(byte >> 4)];
        out[at + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    pairs[15] + 2
}

impl Ord for Id {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Hex(one), Self::Hex(another)) | (Self::Uuid(one), Self::Uuid(another)) => one.cmp(another),
            (one, another) => one.with_text(|one| another.with_text(|another| one.cmp(another))),
        }
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| text.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        let bytes = any::<[u64; 2]>().prop_map(|digits| Id::Uuid(digits).text().as_ref().to_owned());
        prop_oneof![
            bytes.clone(),
            bytes.clone().prop_map(|uuid| uuid.replace('-', "")),
            bytes.prop_map(|uuid| uuid.to_uppercase()),
            "[0-9a-f-]{30,38}",
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn ids_are_equal_and_in_order_as_their_texts_are(one in text(), another in text()) {
            let (a, b) = (Id::find(&one), Id::find(&another));
            prop_assert_eq!(&*a.text(), one.as_str());
            prop_assert_eq!(a.cmp(&b), one.cmp(&another));
            prop_assert_eq!(a == b, one == another);
        }
    }

    #[test]
    fn a_uuid_and_32_digits_take_no_memory_of_their_own() {
        assert!(matches!(Id::find("a1b2c3d4-0000-4000-8000-000000000001"), Id::Uuid(_)));
        assert!(matches!(Id::find("00c9aa11bb22cc33dd44ee55ff660077"), Id::Hex(_)));
        assert!(matches!(Id::find("00C9AA11BB22CC33DD44EE55FF660077"), Id::Text(_)));
        assert_eq!(size_of::<Id>(), 24);
    }
}
