//! Packs a text: ids, the organisation's id and the date of the attempt become one byte each. Their own bytes are
//! stored apart, or are known. Ids are two thirds of the bytes of a webhook, and no compressor finds them. Packing is
//! exact or is not done: a packed text comes back byte for byte. Knows no JSON and no compression.
//!
//! ```text
//! 0x01 next id as a UUID, 0x02 as 32 hex digits, 0x03 reserved, 0x04 the organisation's id as a UUID, 0x05 the date
//! 0x10+i id i, i < 8, again as a UUID, 0x18+i again as 32 hex digits; any other byte is itself
//! ```
//!
//! A text that holds one of these bytes is not packed. The date is the first text of the form `2026-05-04T14:03:11Z`
//! that is printed the same again from its seconds. Ids and the date are found where a run of hex digits begins.

use super::date;
use crate::storage::DecodeError;

/// 16 bytes of a UUID.
pub(super) type PackedId = [u8; 16];

const NEXT_UUID: u8 = 0x01;
const NEXT_HEX: u8 = 0x02;
const RESERVED: u8 = 0x03;
const ORGANISATION: u8 = 0x04;
const DATE: u8 = 0x05;
const AGAIN_UUID: u8 = 0x10;
const AGAIN_HEX: u8 = 0x18;
/// Number of ids that can be named again.
const AGAIN_MAX: usize = 8;
const IDS_MAX: usize = u8::MAX as usize;
const UUID_BYTES: usize = 36;
const HEX_BYTES: usize = 32;
/// Number of hex digits that a UUID begins with.
const FIRST_GROUP_BYTES: usize = 8;
/// Number of digits that a date begins with.
const YEAR_BYTES: usize = 4;

/// Packed text, and the ids and the date that it names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Packed {
    /// Ids in the order in which the text names them.
    pub ids: Vec<PackedId>,
    /// Seconds since the epoch. `None` if the text names no date.
    pub date: Option<i64>,
    pub text: Vec<u8>,
}

/// Packs a text. Looks for a date only if `has_date`. `None` if the text cannot be packed exactly.
pub(super) fn pack(text: &[u8], organisation: Option<PackedId>, has_date: bool) -> Option<Packed> {
    let mut packer = Packer { text, organisation, has_date, packed: Packed::default(), literal_from: 0 };
    packer.packed.text.reserve(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match CLASSES[usize::from(*byte)] {
            Class::Code => return None,
            Class::Plain => at += 1,
            Class::Digit => {
                let run = text[at..].iter().take(HEX_BYTES).take_while(|byte| is_digit(**byte)).count();
                at += packer.pack_at(at, run).unwrap_or(run);
            }
        }
    }
    packer.flush(at);
    Some(packer.packed)
}

/// Returns the text, of at most `bytes_max`. The packed text must name all of its ids.
pub(super) fn unpack(
    packed: &Packed,
    organisation: Option<PackedId>,
    bytes_max: usize,
) -> Result<Vec<u8>, DecodeError> {
    // Enough for most texts. The vector grows for any other.
    let expected = packed.text.len() + (packed.ids.len() + 4) * UUID_BYTES;
    let mut out = Vec::with_capacity(expected.min(bytes_max));
    let mut named = 0;
    for byte in &packed.text {
        let mut next = || {
            named += 1;
            packed.ids.get(named - 1).ok_or(DecodeError("a packed text names more ids than it has"))
        };
        let again = |from: u8| {
            let id = packed.ids.get(usize::from(byte - from));
            id.ok_or(DecodeError("a packed text names an id that does not exist"))
        };
        match *byte {
            NEXT_UUID => put_uuid(&mut out, next()?),
            NEXT_HEX => put_hex(&mut out, next()?),
            RESERVED => return Err(DecodeError("a packed text has a reserved byte")),
            ORGANISATION => put_uuid(&mut out, &organisation.ok_or(DecodeError("no organisation is known"))?),
            DATE => date::put(&mut out, packed.date.ok_or(DecodeError("no date is known"))?)?,
            AGAIN_UUID..AGAIN_HEX => put_uuid(&mut out, again(AGAIN_UUID)?),
            AGAIN_HEX..0x20 => put_hex(&mut out, again(AGAIN_HEX)?),
            byte => out.push(byte),
        }
        if out.len() > bytes_max {
            return Err(DecodeError("a packed text is too long"));
        }
    }
    if named == packed.ids.len() { Ok(out) } else { Err(DecodeError("a packed text does not name all of its ids")) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    /// A hex digit in lower case: an id or a date may begin here.
    Digit,
    Code,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte: u8 = 0;
    loop {
        classes[byte as usize] = match byte {
            NEXT_UUID..=DATE | AGAIN_UUID..=0x1f => Class::Code,
            b'0'..=b'9' | b'a'..=b'f' => Class::Digit,
            _ => Class::Plain,
        };
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    classes
};

fn is_digit(byte: u8) -> bool {
    CLASSES[usize::from(byte)] == Class::Digit
}

/// Text that is being packed.
struct Packer<'a> {
    text: &'a [u8],
    organisation: Option<PackedId>,
    has_date: bool,
    packed: Packed,
    /// Offset before which everything is packed.
    literal_from: usize,
}

impl Packer<'_> {
    /// Packs the id or the date that begins at `at` with a run of hex digits. Returns its length. `None` if none begins
    /// there.
    fn pack_at(&mut self, at: usize, run: usize) -> Option<usize> {
        let rest = &self.text[at..];
        let (code, bytes) = match run {
            YEAR_BYTES => (self.pack_date(rest)?, date::BYTES),
            FIRST_GROUP_BYTES => (self.pack_uuid(parse_uuid(rest)?)?, UUID_BYTES),
            HEX_BYTES => (self.pack_id(parse_hex(rest)?, NEXT_HEX, AGAIN_HEX)?, HEX_BYTES),
            _ => return None,
        };
        self.flush(at);
        self.packed.text.push(code);
        self.literal_from = at + bytes;
        Some(bytes)
    }

    fn pack_uuid(&mut self, id: PackedId) -> Option<u8> {
        if self.organisation == Some(id) { Some(ORGANISATION) } else { self.pack_id(id, NEXT_UUID, AGAIN_UUID) }
    }

    /// Copies the bytes before `to` that are not packed yet, as they are.
    fn flush(&mut self, to: usize) {
        self.packed.text.extend_from_slice(&self.text[self.literal_from..to]);
    }

    /// Adds an id, unless it can be named again. Returns its code. `None` if there are too many ids.
    fn pack_id(&mut self, id: PackedId, next: u8, again: u8) -> Option<u8> {
        let ids = &mut self.packed.ids;
        let known = ids.iter().take(AGAIN_MAX).zip(again..).find(|(other, _)| **other == id);
        if let Some((_, code)) = known {
            return Some(code);
        }
        if ids.len() == IDS_MAX {
            return None;
        }
        ids.push(id);
        Some(next)
    }

    /// Keeps the first date. Returns the code of that date, and of the same date again. `None` for any other text.
    fn pack_date(&mut self, rest: &[u8]) -> Option<u8> {
        if !self.has_date {
            return None;
        }
        let seconds = date::parse(rest.get(..date::BYTES)?)?;
        (*self.packed.date.get_or_insert(seconds) == seconds).then_some(DATE)
    }
}

/// Ranges of the digit groups in a UUID, with a dash between them.
const GROUPS: [(usize, usize); 5] = [(0, 8), (9, 13), (14, 18), (19, 23), (24, 36)];

/// Returns the UUID that a text begins with. `None` if it is not in lower case, in which it is printed again.
pub(super) fn parse_uuid(text: &[u8]) -> Option<PackedId> {
    let text = text.get(..UUID_BYTES)?;
    if GROUPS[1..].iter().any(|(from, _)| text[from - 1] != b'-') {
        return None;
    }
    let mut digits = [0; HEX_BYTES];
    let mut at = 0;
    for (from, to) in GROUPS {
        digits[at..at + to - from].copy_from_slice(&text[from..to]);
        at += to - from;
    }
    parse_hex(&digits)
}

/// Returns the id whose 32 hex digits a text begins with. `None` if they are not in lower case.
fn parse_hex(text: &[u8]) -> Option<PackedId> {
    let mut id = PackedId::default();
    let mut all = 0;
    for (byte, digits) in id.iter_mut().zip(text.get(..HEX_BYTES)?.chunks_exact(2)) {
        let high = VALUES[usize::from(digits[0])];
        let low = VALUES[usize::from(digits[1])];
        all |= high | low;
        *byte = high << 4 | low & 0x0f;
    }
    (all & NO_DIGIT == 0).then_some(id)
}

const NO_DIGIT: u8 = 0x80;

/// Value of each hex digit in lower case.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn put_hex(out: &mut Vec<u8>, id: &PackedId) {
    out.extend_from_slice(&hex(id));
}

fn put_uuid(out: &mut Vec<u8>, id: &PackedId) {
    let hex = hex(id);
    for (from, to) in [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)] {
        if from > 0 {
            out.push(b'-');
        }
        out.extend_from_slice(&hex[from..to]);
    }
}

fn hex(id: &PackedId) -> [u8; HEX_BYTES] {
    let mut hex = [0; HEX_BYTES];
    for (digits, byte) in hex.chunks_exact_mut(2).zip(id) {
        digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    hex
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
    const HEX: &str = "0f8fad5bd9cb469fa16570867728950f";
    const ORGANISATION_ID: &str = "11111111-2222-3333-4444-555555555555";
    const DATE_TEXT: &str = "2026-05-04T14:03:11Z";
    const BYTES_MAX: usize = 1 << 20;

    fn organisation() -> Option<PackedId> {
        parse_uuid(ORGANISATION_ID.as_bytes())
    }

    fn packed(text: &str) -> Packed {
        pack(text.as_bytes(), organisation(), true).unwrap()
    }

    #[test]
    fn ids_the_organisation_and_the_date_become_one_byte_each() {
        let text =
            format!(r#"{{"id":"{UUID}","a":"{HEX}","b":"{UUID}","o":"{ORGANISATION_ID}","date":"{DATE_TEXT}"}}"#);
        let packed = packed(&text);
        assert_eq!(packed.text, b"{\"id\":\"\x01\",\"a\":\"\x02\",\"b\":\"\x10\",\"o\":\"\x04\",\"date\":\"\x05\"}");
        assert_eq!((packed.ids.len(), packed.date), (2, Some(1_777_903_391)));
    }

    #[test]
    fn only_the_first_date_becomes_a_byte() {
        let other = "2026-08-04T00:00:00Z";
        let packed = packed(&format!("{DATE_TEXT} {other} {DATE_TEXT}"));
        assert_eq!(packed.text, format!("\x05 {other} \x05").into_bytes());
        let without = pack(DATE_TEXT.as_bytes(), None, false).unwrap();
        assert_eq!((&*without.text, without.date), (DATE_TEXT.as_bytes(), None));
    }

    #[test]
    fn a_date_that_would_print_differently_is_not_packed() {
        for text in ["2026-13-04T14:03:11Z", "2026-05-04T14:03:60Z", "2026-05-04t14:03:11Z", "2026-02-30T00:00:00Z"] {
            assert_eq!((packed(text).date, packed(text).text), (None, text.as_bytes().to_vec()));
        }
        assert_eq!(packed(&format!("2026-05-04T14:03:60Z{DATE_TEXT}")).date, Some(1_777_903_391));
    }

    #[test]
    fn a_text_that_is_no_id_stays_as_it_is() {
        for text in [&UUID.to_uppercase(), &UUID[..35], &UUID.replace('-', "_"), "g8fad5bd9cb469fa16570867728950f"] {
            assert_eq!(packed(text).text, text.as_bytes());
        }
        for code in [1, 5, 0x10, 0x1f] {
            assert_eq!(pack(&[b'a', code], None, true), None);
        }
    }

    #[test]
    fn ids_beyond_those_that_can_be_counted_stay_as_they_are() {
        let text = (0..300_u128).map(|number| format!("{number:032x} ")).collect::<Vec<_>>().concat();
        let packed = packed(&text);
        assert_eq!(packed.ids.len(), IDS_MAX);
        assert_eq!(unpack(&packed, None, BYTES_MAX).unwrap(), text.as_bytes());
    }

    #[test]
    fn what_was_not_packed_is_refused() {
        let refused = |text: &[u8], ids: &[PackedId]| {
            let packed = Packed { ids: ids.to_vec(), date: None, text: text.to_vec() };
            unpack(&packed, None, 40).is_err()
        };
        assert!(refused(b"\x01", &[]) && refused(b"", &[[0; 16]]) && refused(b"\x11", &[[0; 16]]));
        assert!(refused(b"\x03", &[]) && refused(b"\x04", &[]) && refused(b"\x05", &[]));
        assert!(refused(b"\x01\x10", &[[0; 16]]), "longer than it may be");
        let date = Packed { date: Some(i64::MAX), text: b"\x05".to_vec(), ids: Vec::new() };
        assert!(unpack(&date, None, 40).is_err());
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(any::<u8>(), 0..20),
            "[ -~\\t\\n]{0,20}".prop_map(String::into_bytes),
            any::<u8>().prop_map(|byte| UUID.replace('0', &format!("{:x}", byte & 15)).into_bytes()),
            any::<u8>().prop_map(|byte| HEX.replace('0', &format!("{:x}", byte & 15)).into_bytes()),
            Just(ORGANISATION_ID.as_bytes().to_vec()),
            Just(DATE_TEXT.as_bytes().to_vec()),
            "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]Z".prop_map(String::into_bytes),
            "[0-9a-fA-F-]{30,70}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(pieces in vec(piece(), 0..40), has_date: bool, has_organisation: bool) {
            let text = pieces.concat();
            let organisation = if has_organisation { organisation() } else { None };
            if let Some(packed) = pack(&text, organisation, has_date) {
                prop_assert!(packed.text.len() <= text.len());
                prop_assert_eq!(unpack(&packed, organisation, BYTES_MAX).unwrap(), text);
            }
        }

        #[test]
        fn printable_text_is_always_packed(pieces in vec(piece(), 0..40)) {
            let text: Vec<u8> = pieces.concat().into_iter().filter(|byte| CLASSES[usize::from(*byte)] != Class::Code).collect();
            let packed = pack(&text, organisation(), true).unwrap();
            prop_assert_eq!(unpack(&packed, organisation(), BYTES_MAX).unwrap(), text);
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused_within_the_bound(text in vec(any::<u8>(), 0..200), count in 0..10_usize, date: i64) {
            let packed = Packed { ids: vec![[7; 16]; count], date: Some(date), text };
            if let Ok(text) = unpack(&packed, organisation(), 300) {
                prop_assert!(text.len() <= 300);
            }
        }
    }
}
