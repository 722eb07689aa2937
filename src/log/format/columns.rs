//! Columns of a frame: the clear fields of its records, field by field, so that equal fields are adjacent. Knows
//! nothing of the chain and of the content of the private bytes.
//!
//! ```text
//! u8 number of entrances − 1 ‖ entrances, as in the header (`header.rs`), tenant to organisation id ‖ then by column:
//! u8 entrance ‖ u8 provenance ‖ u8 mode ‖ u8 disposition ‖ u16 kind
//! ‖ u8 marks: 1 claims a key · 2 key commitment · 4 the webhook-timestamp is verbatim · 8 conflicts · 16 has a subject number
//! ‖ u8 codec ‖ u16 dictionary ‖ u8 form: 0 private bytes as they were first stored, 1 erased, 2 sealed again
//! ‖ varint recorded_at − that of the record before, µs; for the first, − that of the frame
//! ‖ [not 4: zigzag varint recorded_at − webhook-timestamp, s] ‖ varint length of the private bytes that are stored
//! ‖ [8: varint first position] ‖ [16: u32 subject number] ‖ [2: 32 B key commitment]
//! ‖ [form 1 and 2: 32 B SHA-256 of the private bytes as they were first stored]
//! ```

use std::sync::Arc;

use super::header::{CLAIMS_KEY, CLEAR, DoorVerdict, Entrance, FIRST_OF_SUBJECT, Header, StoredMode};
use super::varint::{self, take_length, unzigzag, zigzag};
use crate::event::{Contents, Hash, Kind, Position, Provenance, Timestamp};
use crate::segment::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use crate::storage::{DecodeError, Put, Take};

/// Limit of records in a frame: the number of an entrance is a byte.
pub(in crate::log) const RECORDS_MAX: usize = 256;
/// Bytes of a frame that belong to none of its records.
pub(super) const FRAME_OVERHEAD_BYTES: usize = FRAME_HEADER_BYTES + 1;
/// Largest size of the columns, expanded. Bounds the memory that a damaged frame can make a reader allocate.
pub(super) const COLUMNS_BYTES_MAX: usize = RECORDS_MAX * (FIXED_BYTES + VARYING_BYTES_MAX + 3 * 256 + 16);

const VERBATIM_TIMESTAMP: u8 = 4;
const CONFLICTS: u8 = 8;
const HAS_SUBJECT: u8 = 16;
const MARKS: u8 = 31;

pub(super) const WHOLE: u8 = 0;
pub(super) const ERASED: u8 = 1;
pub(super) const RESEALED: u8 = 2;

/// Bytes of the columns from the entrance to the form.
const FIXED_BYTES: usize = 11;
/// Largest size of the other columns: time, webhook-timestamp, length, first position, subject number, commitment,
/// digest.
const VARYING_BYTES_MAX: usize = 4 * varint::BYTES_MAX + 4 + 32 + 32;

/// A record's line in the columns.
pub(in crate::log) struct Row {
    pub header: Header,
    pub recorded_at: Timestamp,
    pub conflict_of: Option<Position>,
    pub form: u8,
    /// Number of private bytes that are stored.
    pub private_bytes: usize,
    /// Digest of the private bytes as they were first stored. `None` if they are still stored so.
    pub digest: Option<Hash>,
}

impl Row {
    /// Returns how much of the private bytes can be read, judged by the form and the header.
    pub fn contents(&self) -> Contents {
        match (self.form, self.header.codec) {
            (ERASED, _) => Contents::Erased,
            (WHOLE, CLEAR) => Contents::Whole,
            _ => Contents::Encrypted,
        }
    }
}

/// Returns an upper bound of the bytes that a record adds to a frame's columns.
pub(super) fn size_max(header: &Header, digest_bytes: usize) -> usize {
    let commitment = header.key_commitment.map_or(0, |commitment| commitment.len());
    let subject = if header.subject == 0 { 0 } else { 4 };
    FIXED_BYTES + header.entrance.size() + 4 * varint::BYTES_MAX + subject + commitment + digest_bytes
}

/// Columns that are being built.
#[derive(Default)]
pub(super) struct ColumnsBuilder {
    entrances: Vec<Arc<Entrance>>,
    entrance_bytes: usize,
    parts: [Vec<u8>; PARTS],
}

const ENTRANCE: usize = 0;
const PROVENANCE: usize = 1;
const MODE: usize = 2;
const DISPOSITION: usize = 3;
const KIND: usize = 4;
const MARK: usize = 5;
const CODEC: usize = 6;
const DICTIONARY: usize = 7;
const FORM: usize = 8;
const TIME: usize = 9;
const SENT: usize = 10;
const LENGTH: usize = 11;
const CONFLICT: usize = 12;
const SUBJECT: usize = 13;
const COMMITMENT: usize = 14;
const DIGEST: usize = 15;
const PARTS: usize = 16;

/// Fields of a new row, borrowed.
pub(super) struct NewRow<'a> {
    pub header: &'a Header,
    pub recorded_at: Timestamp,
    /// Microseconds since the record before.
    pub elapsed_micros: u64,
    pub conflict_of: Option<Position>,
    pub form: u8,
    pub private_bytes: usize,
    pub digest: Option<&'a Hash>,
}

impl ColumnsBuilder {
    /// Returns the number of bytes when the columns are encoded verbatim.
    pub fn bytes(&self) -> usize {
        1 + self.entrance_bytes + self.parts.iter().map(Vec::len).sum::<usize>()
    }

    /// Adds a row. At most [`RECORDS_MAX`] can be encoded.
    pub fn push(&mut self, row: &NewRow<'_>) {
        let header = row.header;
        let entrance = self.add_entrance(&header.entrance);
        let StoredMode { mode, disposition } = header.stored_mode();
        let parts = &mut self.parts;
        parts[ENTRANCE].put_u8(entrance);
        parts[PROVENANCE].put_u8(header.provenance as u8);
        parts[MODE].put_u8(mode);
        parts[DISPOSITION].put_u8(disposition);
        parts[KIND].put_u16(header.kind.stored());
        parts[MARK].put_u8(marks(header, row.conflict_of));
        parts[CODEC].put_u8(header.codec);
        parts[DICTIONARY].put_u16(header.dictionary);
        parts[FORM].put_u8(row.form);
        parts[TIME].put_varint(row.elapsed_micros);
        if let Some(sent) = header.webhook_seconds {
            parts[SENT].put_varint(zigzag(seconds(row.recorded_at).wrapping_sub(sent)));
        }
        parts[LENGTH].put_varint(row.private_bytes as u64);
        if let Some(first) = row.conflict_of {
            parts[CONFLICT].put_varint(first);
        }
        if header.subject != 0 {
            parts[SUBJECT].put_u32(header.subject);
        }
        parts[COMMITMENT].put(header.key_commitment.as_ref().map_or(&[], |commitment| &commitment[..]));
        parts[DIGEST].put(row.digest.map_or(&[], |digest| &digest[..]));
    }

    /// Adds an entrance, unless it is known. Returns its number.
    fn add_entrance(&mut self, entrance: &Arc<Entrance>) -> u8 {
        let known = self.entrances.iter().position(|known| Arc::ptr_eq(known, entrance) || known == entrance);
        let number = known.unwrap_or_else(|| {
            self.entrance_bytes += entrance.size();
            self.entrances.push(Arc::clone(entrance));
            self.entrances.len() - 1
        });
        u8::try_from(number).unwrap_or(u8::MAX)
    }

    /// Encodes the columns. `None` if there are no rows, or too many.
    pub fn encode(&self) -> Option<Vec<u8>> {
        if self.parts[ENTRANCE].len() > RECORDS_MAX {
            return None;
        }
        let mut out = Vec::with_capacity(self.bytes());
        out.put_u8(u8::try_from(self.entrances.len().checked_sub(1)?).ok()?);
        self.entrances.iter().for_each(|entrance| entrance.encode(&mut out));
        self.parts.iter().for_each(|part| out.put(part));
        Some(out)
    }

    pub fn clear(&mut self) {
        self.entrances.clear();
        self.entrance_bytes = 0;
        self.parts.iter_mut().for_each(Vec::clear);
    }
}

fn marks(header: &Header, conflict_of: Option<Position>) -> u8 {
    let mark = |is_set: bool, mark| if is_set { mark } else { 0 };
    header.flags()
        | mark(header.webhook_seconds.is_none(), VERBATIM_TIMESTAMP)
        | mark(conflict_of.is_some(), CONFLICTS)
        | mark(header.subject != 0, HAS_SUBJECT)
}

fn seconds(recorded_at: Timestamp) -> i64 {
    recorded_at.as_micros().div_euclid(1_000_000)
}

/// Decodes the rows of `count` records. The first record was recorded at `from` or later.
pub(super) fn decode(bytes: &[u8], count: usize, from: Timestamp) -> Result<Vec<Row>, DecodeError> {
    if count > RECORDS_MAX {
        return Err(DecodeError("a frame has too many records"));
    }
    let mut take = Take(bytes);
    let entrances = (0..=take.u8()?).map(|_| take_entrance(&mut take)).collect::<Result<Vec<_>, _>>()?;
    let fixed = FixedColumns::take(&mut take, count)?;
    let marked = |mark| fixed.marks.iter().map(move |marks| marks & mark != 0);
    let mut recorded_at = from;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        recorded_at = later(recorded_at, take.varint()?)?;
        times.push(recorded_at);
    }
    let sent = optional(marked(VERBATIM_TIMESTAMP).map(|verbatim| !verbatim), || take.varint())?;
    let lengths = (0..count).map(|_| take_length(&mut take, FRAME_BYTES_MAX)).collect::<Result<Vec<_>, _>>()?;
    let conflicts = optional(marked(CONFLICTS), || take.varint())?;
    let subjects = optional(marked(HAS_SUBJECT), || take.u32())?;
    let commitments = optional(marked(FIRST_OF_SUBJECT), || take.array())?;
    let digests = optional(fixed.forms.iter().map(|form| *form != WHOLE), || take.array())?;
    take.end()?;
    let mut rows = Vec::with_capacity(count);
    for at in 0..count {
        let header = Header {
            subject: subjects[at].unwrap_or(0),
            webhook_seconds: sent[at].map(|sent| seconds(times[at]).wrapping_sub(unzigzag(sent))),
            key_commitment: commitments[at],
            ..fixed.header(at, &entrances)?
        };
        let recorded_at = times[at];
        let conflict_of = conflicts[at];
        let digest = digests[at];
        let row = Row { header, recorded_at, conflict_of, form: fixed.forms[at], private_bytes: lengths[at], digest };
        row.check(fixed.marks[at])?;
        rows.push(row);
    }
    Ok(rows)
}

impl Row {
    fn check(&self, marks: u8) -> Result<(), DecodeError> {
        let has_zero = self.conflict_of == Some(0) || (marks & HAS_SUBJECT != 0 && self.header.subject == 0);
        let is_erased_with_bytes = self.form == ERASED && self.private_bytes > 0;
        let header = &self.header;
        if header.subject == 0 && (header.codec != CLEAR || header.key_commitment.is_some()) {
            return Err(DecodeError("a record has a key but no subject number"));
        }
        if marks & !MARKS != 0 || has_zero || is_erased_with_bytes || self.header.webhook_seconds == Some(i64::MIN) {
            return Err(DecodeError("a record's marks are invalid"));
        }
        if self.form > RESEALED { Err(DecodeError("unknown form of a record")) } else { Ok(()) }
    }
}

/// Columns of fixed width, each with one field for each record.
struct FixedColumns<'a> {
    entrances: &'a [u8],
    provenances: &'a [u8],
    modes: &'a [u8],
    dispositions: &'a [u8],
    kinds: &'a [u8],
    marks: &'a [u8],
    codecs: &'a [u8],
    dictionaries: &'a [u8],
    forms: &'a [u8],
}

impl<'a> FixedColumns<'a> {
    fn take(take: &mut Take<'a>, count: usize) -> Result<Self, DecodeError> {
        Ok(Self {
            entrances: take.bytes(count)?,
            provenances: take.bytes(count)?,
            modes: take.bytes(count)?,
            dispositions: take.bytes(count)?,
            kinds: take.bytes(2 * count)?,
            marks: take.bytes(count)?,
            codecs: take.bytes(count)?,
            dictionaries: take.bytes(2 * count)?,
            forms: take.bytes(count)?,
        })
    }

    /// Returns a header with only the fields of fixed width.
    fn header(&self, at: usize, entrances: &[Arc<Entrance>]) -> Result<Header, DecodeError> {
        let wide = |column: &[u8]| u16::from_be_bytes([column[2 * at], column[2 * at + 1]]);
        let entrance = entrances.get(usize::from(self.entrances[at])).ok_or(DecodeError("a record has no entrance"))?;
        let stored_mode = StoredMode { mode: self.modes[at], disposition: self.dispositions[at] };
        let DoorVerdict { mode, is_unreadable } = stored_mode.verdict()?;
        Ok(Header {
            entrance: Arc::clone(entrance),
            provenance: Provenance::from_stored(self.provenances[at]).ok_or(DecodeError("unknown provenance"))?,
            mode,
            is_unreadable,
            kind: Kind::from_stored(wide(self.kinds)),
            claims_key: self.marks[at] & CLAIMS_KEY != 0,
            codec: self.codecs[at],
            dictionary: wide(self.dictionaries),
            subject: 0,
            webhook_seconds: None,
            key_commitment: None,
        })
    }
}

fn take_entrance(take: &mut Take<'_>) -> Result<Arc<Entrance>, DecodeError> {
    let mut name = || {
        let length = take.u8()?;
        str::from_utf8(take.bytes(usize::from(length))?).map_err(|_| DecodeError("text is not UTF-8"))
    };
    let tenant = name()?;
    let endpoint = name()?;
    let secret_label = name()?;
    Entrance::new(tenant, endpoint, secret_label, take.array()?).map(Arc::new)
}

fn later(time: Timestamp, micros: u64) -> Result<Timestamp, DecodeError> {
    let later = time.as_micros().checked_add_unsigned(micros).ok_or(DecodeError("a record's time is out of range"))?;
    Ok(Timestamp::from_micros(later))
}

/// Reads a field for each record that has it.
fn optional<T>(
    has: impl Iterator<Item = bool>,
    mut take: impl FnMut() -> Result<T, DecodeError>,
) -> Result<Vec<Option<T>>, DecodeError> {
    has.map(|has| if has { take().map(Some) } else { Ok(None) }).collect()
}
