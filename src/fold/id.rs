//! Ids as keys: most are UUIDs or 32 hex digits, and then take 16 bytes where they stand, in the order of their texts.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// An opaque id. Equal, and in order, as its text is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Id {
    /// No entity's, and before all others.
    Empty,
    /// 32 lower-case hex digits.
    Hex([u8; 16]),
    /// The same with dashes as in a UUID.
    Uuid([u8; 16]),
    Text(Arc<str>),
}

/// Where the dashes of a UUID stand.
const DASHES: [usize; 4] = [8, 13, 18, 23];

impl Id {
    /// Keeps `text` itself only if it can't be packed.
    pub fn of(text: &Arc<str>) -> Self {
        Self::packed(text).unwrap_or_else(|| Self::Text(text.clone()))
    }

    /// For a lookup.
    pub fn find(text: &str) -> Self {
        Self::packed(text).unwrap_or_else(|| Self::Text(text.into()))
    }

    pub fn packed(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        match bytes.len() {
            0 => Some(Self::Empty),
            32 => hex(bytes.iter()).map(Self::Hex),
            36 if DASHES.iter().all(|at| bytes[*at] == b'-') => {
                let digits = bytes.iter().enumerate().filter(|(at, _)| !DASHES.contains(at));
                hex(digits.map(|(_, digit)| digit)).map(Self::Uuid)
            }
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
        let mut digits = [0; 36];
        let written = match self {
            Self::Text(text) => return look(text),
            Self::Empty => 0,
            Self::Hex(bytes) => write(&mut digits, bytes, &[]),
            Self::Uuid(bytes) => write(&mut digits, bytes, &DASHES),
        };
        // Nothing but digits and dashes.
        look(std::str::from_utf8(&digits[..written]).unwrap_or_default())
    }
}

fn hex<'a, I: Iterator<Item = &'a u8>>(digits: I) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut count = 0;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        let byte: &mut u8 = bytes.get_mut(count / 2)?;
        *byte = *byte << 4 | value;
        count += 1;
    }
    (count == 32).then_some(bytes)
}

fn write(out: &mut [u8; 36], bytes: &[u8; 16], dashes: &[usize]) -> usize {
    let mut at = 0;
    for nibble in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        if dashes.contains(&at) {
            out[at] = b'-';
            at += 1;
        }
        out[at] = b"0123456789abcdef"[usize::from(nibble)];
        at += 1;
    }
    at
}

impl Ord for Id {
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
        let bytes = any::<[u8; 16]>().prop_map(|bytes| Id::Uuid(bytes).text().as_ref().to_owned());
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
