//! The footer of a segment file: where its frames are. Derived from the frames, so it can be rebuilt. Must not know
//! their content. See `segment.rs` for its bytes.

use std::ops::Range;

use super::frame::FrameHeader;
use crate::event::{Hash, Position, Timestamp};
use crate::storage::{DecodeError, Put, Take};

const MAGIC: &[u8; 8] = b"cleatend";
const ENTRY_BYTES: usize = 24;
pub(super) const TAIL_BYTES: usize = 4 + 8 + 8 + 32 + 32 + 4 + 8;

/// One frame in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameEntry {
    pub first: Position,
    pub last_recorded_at: Timestamp,
    pub offset: u64,
}

/// All frames, and the end of the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameIndex {
    /// Entries in order. A whole segment has at least one.
    pub entries: Vec<FrameEntry>,
    pub last: Position,
    pub last_recorded_at: Timestamp,
    /// Chain value after the last record.
    pub after: Hash,
    /// Offset after the last frame.
    pub end: u64,
}

impl FrameIndex {
    /// Creates an index without frames. `before` is the chain value before `first`, `offset` is where the first frame
    /// goes.
    pub fn empty(first: Position, before: Hash, offset: u64) -> Self {
        let entries = Vec::new();
        Self {
            entries,
            last: first - 1,
            last_recorded_at: Timestamp::from_micros(i64::MIN),
            after: before,
            end: offset,
        }
    }

    /// Checks that a frame follows the last one.
    pub fn check_next(&self, frame: &FrameHeader) -> Result<(), DecodeError> {
        if frame.first != self.last + 1 {
            return Err(DecodeError("its positions do not continue those before it"));
        }
        if frame.before != self.after {
            return Err(DecodeError("its chain does not continue the chain before it"));
        }
        if frame.first_recorded_at < self.last_recorded_at {
            return Err(DecodeError("its time is before that of the frame before it"));
        }
        Ok(())
    }

    /// Adds a frame of `bytes` bytes, which must follow the last one.
    pub fn push(&mut self, frame: &FrameHeader, bytes: usize) -> Result<(), DecodeError> {
        self.check_next(frame)?;
        let entry = FrameEntry { first: frame.first, last_recorded_at: frame.last_recorded_at, offset: self.end };
        self.entries.push(entry);
        self.last = frame.last();
        self.last_recorded_at = frame.last_recorded_at;
        self.after = frame.after;
        self.end += bytes as u64;
        Ok(())
    }

    /// Returns the number of the frame that holds a position. `None` outside the segment.
    pub fn find(&self, position: Position) -> Option<usize> {
        if position > self.last {
            return None;
        }
        self.entries.partition_point(|entry| entry.first <= position).checked_sub(1)
    }

    /// Returns where a frame begins and ends in the file.
    pub fn range(&self, frame: usize) -> Option<Range<u64>> {
        let start = self.entries.get(frame)?.offset;
        Some(start..self.entries.get(frame + 1).map_or(self.end, |next| next.offset))
    }

    /// Encodes the footer. `digest` returns the SHA-256 of the file up to the entries, and of the entries, which it is
    /// given.
    pub fn encode(&self, digest: impl FnOnce(&[u8]) -> [u8; 32]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * ENTRY_BYTES + TAIL_BYTES);
        for entry in &self.entries {
            out.put_u64(entry.first);
            out.put_i64(entry.last_recorded_at.as_micros());
            out.put_u64(entry.offset);
        }
        let digest = digest(&out);
        out.put_u32(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        out.put_u64(self.last);
        out.put_i64(self.last_recorded_at.as_micros());
        out.put(&self.after);
        out.put(&digest);
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out.put(MAGIC);
        out
    }

    /// Returns the number of bytes of entries before a tail, as the tail says.
    pub fn entries_bytes(tail: &[u8]) -> Result<usize, DecodeError> {
        let mut take = Take(tail);
        if !tail.ends_with(MAGIC) {
            return Err(DecodeError("the file does not end with the magic bytes of a segment"));
        }
        (take.u32()? as usize).checked_mul(ENTRY_BYTES).ok_or(DecodeError("the footer is too large"))
    }

    /// Decodes a footer. `end` is where it begins in the file.
    pub fn decode(bytes: &[u8], end: u64) -> Result<Self, DecodeError> {
        let (entries, tail) = bytes.split_last_chunk::<TAIL_BYTES>().ok_or(DecodeError("the footer is too short"))?;
        if Self::entries_bytes(tail)? != entries.len() {
            return Err(DecodeError("the length of the footer is wrong"));
        }
        let mut take = Take(tail);
        take.u32()?;
        let last = take.u64()?;
        let last_recorded_at = Timestamp::from_micros(take.i64()?);
        let after = take.array()?;
        take.bytes(32)?;
        if take.u32()? != crc32c::crc32c(&bytes[..bytes.len() - 12]) {
            return Err(DecodeError("the checksum of the footer is wrong"));
        }
        let mut index =
            Self { entries: Vec::with_capacity(entries.len() / ENTRY_BYTES), last, last_recorded_at, after, end };
        let mut take = Take(entries);
        while !take.0.is_empty() {
            let first = take.u64()?;
            let last_recorded_at = Timestamp::from_micros(take.i64()?);
            index.entries.push(FrameEntry { first, last_recorded_at, offset: take.u64()? });
        }
        let rises = index.entries.is_sorted_by(|one, next| one.first < next.first && one.offset < next.offset);
        let is_within = index.entries.last().is_some_and(|last| last.first <= index.last && last.offset < end);
        if rises && is_within { Ok(index) } else { Err(DecodeError("the footer's frames are out of order")) }
    }
}
