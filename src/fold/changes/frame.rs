//! Owns the frames of the change log: adjacent positions, each with the fold's disposition and the changes. Knows no
//! file.
//!
//! ```text
//! columns  by column:  u8 disposition ‖ number µs since the position before ‖ number bytes of its record, 0 if it
//!          changed nothing ‖ chain prefix there, 8 B, if it changed something
//! private  sealed: the records, `record.rs`
//! ```
//!
//! Columns and records are packed (`storage/compression.rs`).

use std::sync::Arc;

use super::record::{self, Describe, TakeError};
use crate::event::{ChainPrefix, Hash, Position, Timestamp};
use crate::fold::entities::{EventRef, PositionChanges};
use crate::fold::format::packed_text::{unzigzag, zigzag};
use crate::segment::{Frame, FrameHeader, ReadError};
use crate::storage::{DecodeError, PLAIN, Put, StoreError, Take, seal, unseal};

/// Maximum number of positions in a frame.
const POSITIONS_MAX: u32 = 256;
/// Maximum size of the expanded records in a frame, unless it holds a single record. The largest record is an export
/// before and after an event, with links and stats of three bodies of 384 KiB. It fits a frame of 1 MiB, since text
/// compresses to 82 % or less.
const RECORDS_BYTES: usize = 128 * 1024;
/// Maximum size of expanded records for which a reader takes memory.
const RECORDS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Codecs of the columns.
const VERBATIM: u8 = 0;
const ZSTD: u8 = 1;

/// How the fold treated an event. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The door withheld it from the fold: it cannot be read, its mode does not fit, or it is a conflict.
    Withheld = 0,
    /// The event changed the state.
    Applied = 1,
    /// The event had happened before the known state. Only information that was not known yet was taken from it.
    AppliedAsHistory = 2,
    /// The event names neither a connection nor an export.
    NoEntity = 3,
}

impl Disposition {
    fn from_stored(byte: u8) -> Option<Self> {
        [Self::Withheld, Self::Applied, Self::AppliedAsHistory, Self::NoEntity]
            .into_iter()
            .find(|disposition| *disposition as u8 == byte)
    }
}

/// Result of folding one event.
#[derive(Clone)]
pub struct Recorded {
    pub event: EventRef,
    /// The chain's value at the position.
    pub chain: Hash,
    pub disposition: Disposition,
    /// `None` if the event changed nothing.
    pub changes: Option<Arc<PositionChanges>>,
}

/// Builder of frames, one after the other.
pub struct ChangeFrameBuilder {
    header: FrameHeader,
    dispositions: Vec<u8>,
    times: Vec<u8>,
    lengths: Vec<u8>,
    chains: Vec<u8>,
    records: Vec<u8>,
    /// Record of the next position.
    record: Vec<u8>,
}

impl ChangeFrameBuilder {
    /// Creates an empty builder for the positions after `last`, where the chain's value is `chain`.
    pub fn new(last: Position, chain: Hash) -> Self {
        let header = empty(last + 1, chain);
        let [dispositions, times, lengths, chains, records, record] = Default::default();
        Self { header, dispositions, times, lengths, chains, records, record }
    }

    /// Returns the position that comes next.
    pub fn next(&self) -> Position {
        self.header.first + u64::from(self.header.count)
    }

    /// Returns the first position of the current frame.
    pub fn first(&self) -> Position {
        self.header.first
    }

    pub fn is_empty(&self) -> bool {
        self.header.count == 0
    }

    /// Encodes the record of the next position, which [`Self::push`] adds. Returns whether the frame must be finished
    /// before that: a large record gets a frame of its own.
    pub fn prepare(&mut self, Recorded { event, changes, .. }: &Recorded) -> bool {
        self.record.clear();
        if let Some(changes) = changes {
            record::put(&mut self.record, event, &changes.realm, &changes.changes);
        }
        let is_full = self.header.count >= POSITIONS_MAX || self.records.len() + self.record.len() > RECORDS_BYTES;
        is_full && self.header.count > 0
    }

    /// Adds the prepared position.
    pub fn push(&mut self, Recorded { event, chain, disposition, changes }: &Recorded) {
        let header = &mut self.header;
        if header.count == 0 {
            header.first_recorded_at = event.recorded_at;
            header.last_recorded_at = event.recorded_at;
        }
        let elapsed = event.recorded_at.as_micros().wrapping_sub(header.last_recorded_at.as_micros());
        header.count += 1;
        header.last_recorded_at = event.recorded_at;
        header.after = *chain;
        self.dispositions.put_u8(*disposition as u8);
        self.times.put_varint(zigzag(elapsed));
        self.lengths.put_varint(self.record.len() as u64);
        self.records.append(&mut self.record);
        if let Some(changes) = changes {
            self.chains.put(&changes.chain);
        }
    }

    /// Returns the bytes of the frame and begins an empty one after it.
    pub fn finish(&mut self) -> Result<Vec<u8>, StoreError> {
        let columns = [&self.dispositions, &self.times, &self.lengths, &self.chains].map(Vec::as_slice).concat();
        let too_large = |_| DecodeError("its columns are too large");
        let positions = format!("record the changes of positions {} to {}", self.header.first, self.next() - 1);
        let refused = |error: DecodeError| StoreError::new(positions.as_str(), error.0);
        let compressed = PLAIN.compress(&columns);
        let header = FrameHeader {
            codec: if compressed.is_some() { ZSTD } else { VERBATIM },
            columns_expanded: u32::try_from(columns.len()).map_err(too_large).map_err(refused)?,
            ..self.header
        };
        let columns = compressed.as_deref().unwrap_or(&columns);
        let mut private = Vec::new();
        seal(&PLAIN.pack(&self.records), &mut private);
        let bytes = Frame { header, columns, private: &private }.encode().map_err(refused)?;
        self.header = empty(self.next(), self.header.after);
        for column in [&mut self.dispositions, &mut self.times, &mut self.lengths, &mut self.chains, &mut self.records]
        {
            column.clear();
        }
        Ok(bytes)
    }
}

fn empty(first: Position, before: Hash) -> FrameHeader {
    FrameHeader {
        codec: VERBATIM,
        count: 0,
        first,
        first_recorded_at: Timestamp::default(),
        last_recorded_at: Timestamp::default(),
        before,
        after: before,
        columns_expanded: 0,
    }
}

/// A decoded frame.
pub struct ChangeFrame {
    header: FrameHeader,
    entries: Vec<ChangeEntry>,
    records: Vec<u8>,
}

/// One position of a frame.
struct ChangeEntry {
    recorded_at: Timestamp,
    disposition: Disposition,
    chain: ChainPrefix,
    /// Range of the position's record in `records`.
    record: std::ops::Range<usize>,
}

impl ChangeFrame {
    /// Decodes a frame from its bytes. Errors name `position`, for which it is read.
    pub fn decode(bytes: &[u8], position: Position) -> Result<Self, ReadError> {
        let decode = || {
            let frame = Frame::decode(bytes)?;
            let entries = take_entries(&frame)?;
            let records_bytes = entries.last().map_or(0, |last| last.record.end);
            if records_bytes > RECORDS_BYTES_MAX {
                return Err(DecodeError("the records of a change frame are too large"));
            }
            let records = expand(unseal(frame.private)?, records_bytes)?;
            Ok(Self { header: frame.header, entries, records })
        };
        decode().map_err(|error| ReadError::Damaged { from: position, reason: error.0 })
    }

    pub fn last(&self) -> Position {
        self.header.last()
    }

    pub fn holds(&self, position: Position) -> bool {
        (self.header.first..=self.header.last()).contains(&position)
    }

    /// Returns the chain's value after the last position.
    pub fn after(&self) -> Hash {
        self.header.after
    }

    /// Returns the changes of a position in the frame. `None` if there are none.
    pub fn changes_at(
        &self,
        position: Position,
        describe: &Describe<'_>,
    ) -> Result<Option<PositionChanges>, ReadError> {
        let damaged = |reason| ReadError::Damaged { from: position, reason };
        let number = position.checked_sub(self.header.first).and_then(|number| usize::try_from(number).ok());
        let entry = number.and_then(|number| self.entries.get(number)).ok_or(damaged("no record of the position"))?;
        let record = &self.records[entry.record.clone()];
        if record.is_empty() {
            return Ok(None);
        }
        let mut from = Take(record);
        let origin = EventRef { position, recorded_at: entry.recorded_at };
        let taken = record::take(&mut from, &origin, describe).map_err(|error| match error {
            TakeError::DecodeError(error) => damaged(error.0),
            TakeError::Referred(error) => error,
        });
        let (realm, changes) = taken?;
        from.end().map_err(|error| damaged(error.0))?;
        Ok(Some(PositionChanges { position, chain: entry.chain, realm, changes }))
    }
}

/// Returns the dispositions of the positions in a frame from `from` on. The records stay packed.
pub fn dispositions(bytes: &[u8], from: Position) -> Result<Vec<Disposition>, ReadError> {
    let list = || {
        let frame = Frame::decode(bytes)?;
        let skipped = usize::try_from(from - frame.header.first).unwrap_or(usize::MAX);
        Ok(take_entries(&frame)?.iter().skip(skipped).map(|entry| entry.disposition).collect())
    };
    list().map_err(|error: DecodeError| ReadError::Damaged { from, reason: error.0 })
}

/// Expands `stored`, which must give exactly `bytes` bytes.
fn expand(stored: &[u8], bytes: usize) -> Result<Vec<u8>, DecodeError> {
    PLAIN.unpack(stored, bytes).ok_or(DecodeError("a change frame does not expand to the stated length"))
}

fn take_entries(frame: &Frame<'_>) -> Result<Vec<ChangeEntry>, DecodeError> {
    let header = &frame.header;
    let columns = expand(frame.columns, header.columns_expanded as usize)?;
    let count = header.count as usize;
    let mut from = Take(&columns);
    let dispositions = from.bytes(count)?;
    let mut time = header.first_recorded_at.as_micros();
    let mut entries = Vec::with_capacity(count);
    for byte in dispositions {
        let disposition = Disposition::from_stored(*byte).ok_or(DecodeError("unknown disposition"))?;
        time = time.wrapping_add(unzigzag(from.varint()?));
        let recorded_at = Timestamp::from_micros(time);
        entries.push(ChangeEntry { recorded_at, disposition, chain: ChainPrefix::default(), record: 0..0 });
    }
    let mut end = 0_usize;
    for entry in &mut entries {
        let length = usize::try_from(from.varint()?).ok();
        let begin = end;
        end = length.and_then(|length| begin.checked_add(length)).ok_or(DecodeError("a record is too large"))?;
        entry.record = begin..end;
    }
    for entry in entries.iter_mut().filter(|entry| !entry.record.is_empty()) {
        entry.chain = from.array()?;
    }
    from.end()?;
    Ok(entries)
}
