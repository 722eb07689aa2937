//! Frames of records: gathers records into a frame, and takes a frame apart, checked. Knows nothing of files and
//! journals, nor of the content of a record's private bytes.

use sha2::{Digest as _, Sha256};

use super::chain;
use super::columns::{self, ColumnsBuilder, ERASED, FRAME_OVERHEAD_BYTES, NewRow, RECORDS_MAX, RESEALED, Row, WHOLE};
use super::header::{AES_256_GCM, CLEAR, Header};
use super::record::{self, Record};
use crate::event::{Contents, Event, Hash, Position, Timestamp};
use crate::segment::{FRAME_BYTES_MAX, Frame, FrameHeader, Gap};
use crate::storage::{DecodeError, PLAIN};

const VERBATIM: u8 = 0;
const ZSTD: u8 = 1;

/// Private bytes of a stored record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) enum Private<'a> {
    /// As they were first stored.
    Whole(&'a [u8]),
    /// Gone; only their digest is left.
    Erased(Hash),
    /// Sealed again. The digest is that of the bytes that were first stored.
    Resealed { digest: Hash, bytes: &'a [u8] },
}

/// Private bytes as a frame stores them.
struct StoredPrivate<'a> {
    form: u8,
    bytes: &'a [u8],
    /// Digest of the bytes that were first stored. `None` if these are those bytes.
    digest: Option<&'a Hash>,
}

/// Record in a frame, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log) struct StoredRecord<'a> {
    pub position: Position,
    pub recorded_at: Timestamp,
    /// First position with the record's key, if the record contradicts that one.
    pub conflict_of: Option<Position>,
    pub header: Header,
    pub private: Private<'a>,
    /// Digest of the record, which the chain holds.
    pub content: Hash,
    /// Chain value after the record.
    pub chain: Hash,
}

impl Private<'_> {
    /// Returns what a frame stores.
    fn stored(&self) -> StoredPrivate<'_> {
        match self {
            Self::Whole(bytes) => StoredPrivate { form: WHOLE, bytes, digest: None },
            Self::Erased(digest) => StoredPrivate { form: ERASED, bytes: &[], digest: Some(digest) },
            Self::Resealed { digest, bytes } => StoredPrivate { form: RESEALED, bytes, digest: Some(digest) },
        }
    }

    /// Returns the SHA-256 of the private bytes as they were first stored.
    pub fn digest(&self) -> Hash {
        match self {
            Self::Whole(bytes) => Sha256::digest(bytes).into(),
            Self::Erased(digest) | Self::Resealed { digest, .. } => *digest,
        }
    }
}

impl StoredRecord<'_> {
    /// Returns the event. It has no body if the private bytes cannot be read.
    pub fn event(&self) -> Result<Event, DecodeError> {
        let (contents, delivery) = match (&self.private, self.header.codec) {
            (Private::Erased(_), _) => (Contents::Erased, record::known(&self.header)),
            (Private::Whole(bytes), CLEAR) => (Contents::Whole, record::delivery(&self.header, bytes)?),
            (_, CLEAR | AES_256_GCM) => (Contents::Encrypted, record::known(&self.header)),
            _ => return Err(DecodeError("a record has the encoding of a newer version")),
        };
        Ok(Event {
            position: self.position,
            recorded_at: self.recorded_at,
            delivery,
            chain: self.chain,
            conflict_of: self.conflict_of,
            contents,
        })
    }

    /// Returns an upper bound of the bytes that the record adds to a frame.
    pub fn size(&self) -> usize {
        let StoredPrivate { bytes, digest, .. } = self.private.stored();
        columns::size_max(&self.header, digest.map_or(0, |digest| digest.len())) + bytes.len()
    }
}

/// Gathers records into one frame, and then into the next.
pub(in crate::log) struct FrameBuilder {
    records_max: usize,
    bytes_max: usize,
    first: Position,
    count: u32,
    before: Hash,
    chain: Hash,
    first_recorded_at: Timestamp,
    last_recorded_at: Timestamp,
    columns: ColumnsBuilder,
    private: Vec<u8>,
    /// Reason why the pushed records make no frame.
    fault: Option<DecodeError>,
}

impl FrameBuilder {
    /// Starts a frame. `before` is the chain value before `first`. A frame has at most 256 records and 1 MiB, whatever
    /// the bounds.
    pub fn new(first: Position, before: Hash, records_max: usize, bytes_max: usize) -> Self {
        Self {
            records_max: records_max.min(RECORDS_MAX),
            bytes_max: bytes_max.min(FRAME_BYTES_MAX),
            first,
            count: 0,
            before,
            chain: before,
            first_recorded_at: Timestamp::default(),
            last_recorded_at: Timestamp::default(),
            columns: ColumnsBuilder::default(),
            private: Vec::new(),
            fault: None,
        }
    }

    /// Returns whether a record of `size` fits the bounds. Always true if the frame is empty.
    pub fn fits(&self, size: usize) -> bool {
        let bytes = FRAME_OVERHEAD_BYTES + self.columns.bytes() + self.private.len();
        self.is_empty() || (self.count() < self.records_max && bytes.saturating_add(size) <= self.bytes_max)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the number of records in the frame.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Returns the position of the next record.
    pub fn next(&self) -> Position {
        self.first + u64::from(self.count)
    }

    /// Returns the chain value after the last record.
    pub fn chain(&self) -> Hash {
        self.chain
    }

    /// Adds a record. Returns the chain value after it.
    pub fn push(&mut self, recorded_at: Timestamp, conflict_of: Option<Position>, record: &Record) -> Hash {
        let private = Private::Whole(record.private());
        self.add(recorded_at, conflict_of, record.header(), private, record.content())
    }

    /// Adds a record of another frame as it is stored there.
    pub fn push_stored(&mut self, record: &StoredRecord<'_>) {
        let position = self.next();
        let chain = self.add(record.recorded_at, record.conflict_of, &record.header, record.private, &record.content);
        if position != record.position || chain != record.chain {
            self.fault = Some(DecodeError("a record does not follow the one before it"));
        }
    }

    fn add(
        &mut self,
        recorded_at: Timestamp,
        conflict_of: Option<Position>,
        header: &Header,
        private: Private<'_>,
        content: &Hash,
    ) -> Hash {
        let conflict_of = conflict_of.filter(|first| *first != 0);
        if self.is_empty() {
            self.first_recorded_at = recorded_at;
            self.last_recorded_at = recorded_at;
        }
        let elapsed = recorded_at.as_micros().checked_sub(self.last_recorded_at.as_micros());
        let elapsed_micros = elapsed.and_then(|elapsed| u64::try_from(elapsed).ok());
        if elapsed_micros.is_none() {
            self.fault = Some(DecodeError("a record's time is before that of the record before it"));
        }
        if conflict_of.is_some_and(|first| first >= self.next()) {
            self.fault = Some(DecodeError("a record conflicts with a position that is not before it"));
        }
        let StoredPrivate { form, bytes, digest } = private.stored();
        self.chain = chain::next(&self.chain, self.next(), recorded_at, conflict_of, content);
        self.columns.push(&NewRow {
            header,
            recorded_at,
            elapsed_micros: elapsed_micros.unwrap_or(0),
            conflict_of,
            form,
            private_bytes: bytes.len(),
            digest,
        });
        self.private.extend_from_slice(bytes);
        self.last_recorded_at = recorded_at;
        self.count += 1;
        self.chain
    }

    /// Returns the frame's bytes, and continues after it with an empty frame. After an error, the pushed records are
    /// still there, and make no frame.
    pub fn finish(&mut self) -> Result<Vec<u8>, DecodeError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let columns = self.columns.encode().ok_or(DecodeError("a frame has too few or too many records"))?;
        let compressed = PLAIN.compress(&columns);
        let header = FrameHeader {
            codec: if compressed.is_some() { ZSTD } else { VERBATIM },
            count: self.count,
            first: self.first,
            first_recorded_at: self.first_recorded_at,
            last_recorded_at: self.last_recorded_at,
            before: self.before,
            after: self.chain,
            columns_expanded: u32::try_from(columns.len())
                .map_err(|_| DecodeError("a frame's columns are too large"))?,
        };
        let stored = compressed.as_deref().unwrap_or(&columns);
        let frame = Frame { header, columns: stored, private: &self.private }.encode()?;
        self.first = self.next();
        self.count = 0;
        self.before = self.chain;
        self.columns.clear();
        self.private.clear();
        Ok(frame)
    }
}

/// Clear fields of a frame's records. The private bytes are not read, so the chain is not checked.
pub(in crate::log) struct Listing<'a> {
    frame: Frame<'a>,
    /// Empty if the frame is a gap.
    rows: Vec<Row>,
}

impl<'a> Listing<'a> {
    pub fn of(frame: Frame<'a>) -> Result<Self, DecodeError> {
        let rows = if Gap::of(&frame)?.is_some() { Vec::new() } else { rows(&frame)? };
        Ok(Self { frame, rows })
    }

    /// Returns the rows in order of position.
    pub fn rows(&self) -> impl Iterator<Item = (Position, &Row)> {
        (self.frame.header.first..).zip(&self.rows)
    }

    /// Returns the records. Checks times, and the chain from `before` to `after`.
    pub fn into_records(self) -> Result<Vec<StoredRecord<'a>>, DecodeError> {
        let Self { frame, rows } = self;
        if rows.is_empty() { Ok(Vec::new()) } else { checked(&frame, rows) }
    }
}

/// Decodes a frame's records. Checks positions, times, and the chain from `before` to `after`. A gap has no records.
pub(in crate::log) fn records<'a>(frame: &Frame<'a>) -> Result<Vec<StoredRecord<'a>>, DecodeError> {
    Listing::of(*frame)?.into_records()
}

fn checked<'a>(frame: &Frame<'a>, rows: Vec<Row>) -> Result<Vec<StoredRecord<'a>>, DecodeError> {
    let header = &frame.header;
    let records = stored_records(frame, rows)?;
    let ends = |record: Option<&StoredRecord<'_>>| record.map(|record| (record.recorded_at, record.chain));
    let begins_in_time = records.first().is_some_and(|first| first.recorded_at == header.first_recorded_at);
    if begins_in_time && ends(records.last()) == Some((header.last_recorded_at, header.after)) {
        Ok(records)
    } else {
        Err(DecodeError("a frame's chain or times are broken"))
    }
}

/// Like [`records`], but does not check the chain value after the last record, nor the times of the first and the last.
pub(super) fn unchecked<'a>(frame: &Frame<'a>) -> Result<Vec<StoredRecord<'a>>, DecodeError> {
    stored_records(frame, rows(frame)?)
}

fn stored_records<'a>(frame: &Frame<'a>, rows: Vec<Row>) -> Result<Vec<StoredRecord<'a>>, DecodeError> {
    let mut private = frame.private;
    let mut records: Vec<StoredRecord<'a>> = Vec::with_capacity(rows.len());
    for (position, row) in (frame.header.first..).zip(rows) {
        let before = records.last().map_or(frame.header.before, |record| record.chain);
        records.push(stored_record(position, row, &before, &mut private)?);
    }
    if private.is_empty() { Ok(records) } else { Err(DecodeError("a frame has private bytes after its records")) }
}

fn rows(frame: &Frame<'_>) -> Result<Vec<Row>, DecodeError> {
    let FrameHeader { codec, count, columns_expanded, first_recorded_at, .. } = frame.header;
    let bytes = usize::try_from(columns_expanded).ok().filter(|bytes| *bytes <= columns::COLUMNS_BYTES_MAX);
    let bytes = bytes.ok_or(DecodeError("a frame's columns are too large"))?;
    let expanded;
    let verbatim = if codec == ZSTD {
        let found = PLAIN.expand(frame.columns, bytes);
        expanded = found.ok_or(DecodeError("a frame's columns do not expand to the stated length"))?;
        &expanded
    } else {
        frame.columns
    };
    if verbatim.len() != bytes {
        return Err(DecodeError("the length of a frame's columns is wrong"));
    }
    columns::decode(verbatim, count as usize, first_recorded_at)
}

/// Decodes one record. `private` is the rest of the frame's private bytes.
fn stored_record<'a>(
    position: Position,
    row: Row,
    before: &Hash,
    private: &mut &'a [u8],
) -> Result<StoredRecord<'a>, DecodeError> {
    let Row { header, recorded_at, conflict_of, form, private_bytes, digest } = row;
    if conflict_of.is_some_and(|first| first >= position) {
        return Err(DecodeError("a record conflicts with a position that is not before it"));
    }
    let (bytes, rest) =
        private.split_at_checked(private_bytes).ok_or(DecodeError("a frame's private bytes are too short"))?;
    *private = rest;
    let private = match (form, digest) {
        (WHOLE, None) => Private::Whole(bytes),
        (ERASED, Some(digest)) => Private::Erased(digest),
        (RESEALED, Some(digest)) => Private::Resealed { digest, bytes },
        _ => return Err(DecodeError("unknown form of a record")),
    };
    let content = header.content(&private.digest());
    let chain = chain::next(before, position, recorded_at, conflict_of, &content);
    Ok(StoredRecord { position, recorded_at, conflict_of, header, private, content, chain })
}
