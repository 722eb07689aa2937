//! One frame: adjacent records and their common data. Knows the layout of a frame. Must not know the meaning of its
//! columns and private bytes.
//!
//! ```text
//! 0 u8 format 2 ‖ 1 u8 frame codec: 0 columns verbatim, 1 zstd, 2 sealed (reserved), 3 a gap, see `gap.rs` ‖ 2 u32 count
//! ‖ 6 u64 first position
//! ‖ 14 i64 first, 22 i64 last recorded_at, µs ‖ 30 chain before, 62 chain after, 32 B each
//! ‖ 94 u32 columns, expanded ‖ 98 u32 columns, stored ‖ 102 u32 private bytes ‖ 106 u64 source sequence, 0
//! ‖ 114 u32 key generation, 0 ‖ 118 u32 CRC32C of 0..118 and all that follows
//! ‖ columns ‖ private bytes
//! ```

use crate::event::{Hash, Position, Timestamp};
use crate::storage::{DecodeError, Put, Take};

const FORMAT: u8 = 2;
const VERBATIM: u8 = 0;
const ZSTD: u8 = 1;
/// Codec of a gap: no records, only the fact that they are missing.
pub(super) const GAP: u8 = 3;
/// Length of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 122;
const CRC_AT: usize = 118;
/// Maximum length of a frame. The largest record that the log takes fits one frame on its own.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Maximum length of the expanded columns. It bounds the memory that a damaged frame can make a reader allocate.
const COLUMNS_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Header of a frame, about all of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Storage of the columns: 0 verbatim, 1 zstd; 3 if the frame is a gap.
    pub codec: u8,
    /// Number of records, or of missing positions. At least 1.
    pub count: u32,
    pub first: Position,
    pub first_recorded_at: Timestamp,
    pub last_recorded_at: Timestamp,
    /// Chain value before the first record.
    pub before: Hash,
    /// Chain value after the last record.
    pub after: Hash,
    /// Bytes of the columns after expansion.
    pub columns_expanded: u32,
}

/// A frame, decoded and checked, or to be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub header: FrameHeader,
    /// Columns as they are stored.
    pub columns: &'a [u8],
    /// Private bytes of all records, one after the other.
    pub private: &'a [u8],
}

/// Beginning of a frame whose checksum has not been checked.
pub(super) struct FrameStart {
    pub header: FrameHeader,
    columns_stored: usize,
    private_bytes: usize,
    crc: u32,
}

impl FrameHeader {
    pub fn last(&self) -> Position {
        self.first + u64::from(self.count) - 1
    }

    /// Returns whether the frame is a gap: positions of which nothing is left.
    pub fn is_gap(&self) -> bool {
        self.codec == GAP
    }

    fn check(&self) -> Result<(), DecodeError> {
        if !matches!(self.codec, VERBATIM | ZSTD | GAP) {
            return Err(DecodeError("unknown frame codec"));
        }
        if self.count == 0 || self.first == 0 || self.first.checked_add(u64::from(self.count)).is_none() {
            return Err(DecodeError("a frame's positions are invalid"));
        }
        if self.first_recorded_at > self.last_recorded_at {
            return Err(DecodeError("a frame's times are out of order"));
        }
        if self.columns_expanded > COLUMNS_BYTES_MAX {
            return Err(DecodeError("a frame's columns are too large"));
        }
        Ok(())
    }

    fn check_parts(&self, columns_stored: usize, private_bytes: usize) -> Result<(), DecodeError> {
        let is_verbatim = columns_stored == self.columns_expanded as usize;
        if self.codec != ZSTD && !is_verbatim {
            return Err(DecodeError("the length of a frame's columns is wrong"));
        }
        if self.is_gap() && private_bytes != 0 {
            return Err(DecodeError("a gap has private bytes"));
        }
        Ok(())
    }
}

impl FrameStart {
    /// Reads the first [`FRAME_HEADER_BYTES`] of a frame.
    pub fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut take = Take(bytes);
        if take.u8()? != FORMAT {
            return Err(DecodeError("no frame of a known format begins here"));
        }
        let header = FrameHeader {
            codec: take.u8()?,
            count: take.u32()?,
            first: take.u64()?,
            first_recorded_at: Timestamp::from_micros(take.i64()?),
            last_recorded_at: Timestamp::from_micros(take.i64()?),
            before: take.array()?,
            after: take.array()?,
            columns_expanded: take.u32()?,
        };
        let columns_stored = take.u32()? as usize;
        let private_bytes = take.u32()? as usize;
        if take.u64()? != 0 || take.u32()? != 0 {
            return Err(DecodeError("a reserved field of a frame is not 0"));
        }
        let start = Self { header, columns_stored, private_bytes, crc: take.u32()? };
        start.header.check()?;
        start.header.check_parts(start.columns_stored, start.private_bytes)?;
        if start.bytes() > FRAME_BYTES_MAX {
            return Err(DecodeError("a frame is too large"));
        }
        Ok(start)
    }

    /// Returns the length of the whole frame.
    pub fn bytes(&self) -> usize {
        FRAME_HEADER_BYTES.saturating_add(self.columns_stored).saturating_add(self.private_bytes)
    }
}

impl<'a> Frame<'a> {
    pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        self.header.check()?;
        self.header.check_parts(self.columns.len(), self.private.len())?;
        let bytes = FRAME_HEADER_BYTES + self.columns.len() + self.private.len();
        if bytes > FRAME_BYTES_MAX {
            return Err(DecodeError("a frame is too large"));
        }
        let mut out = Vec::with_capacity(bytes);
        out.put_u8(FORMAT);
        out.put_u8(self.header.codec);
        out.put_u32(self.header.count);
        out.put_u64(self.header.first);
        out.put_i64(self.header.first_recorded_at.as_micros());
        out.put_i64(self.header.last_recorded_at.as_micros());
        out.put(&self.header.before);
        out.put(&self.header.after);
        out.put_u32(self.header.columns_expanded);
        for part in [self.columns, self.private] {
            out.put_u32(u32::try_from(part.len()).map_err(|_| DecodeError("a frame is too large"))?);
        }
        out.put_u64(0);
        out.put_u32(0);
        out.put_u32(crc(&out, &[self.columns, self.private]));
        out.put(self.columns);
        out.put(self.private);
        Ok(out)
    }

    /// Decodes exactly the bytes of one frame.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let start = FrameStart::read(bytes)?;
        let mut rest = Take(&bytes[FRAME_HEADER_BYTES..]);
        let columns = rest.bytes(start.columns_stored)?;
        let private = rest.bytes(start.private_bytes)?;
        rest.end()?;
        if crc(&bytes[..CRC_AT], &[columns, private]) != start.crc {
            return Err(DecodeError("a frame's checksum is wrong"));
        }
        Ok(Self { header: start.header, columns, private })
    }
}

fn crc(start: &[u8], parts: &[&[u8]]) -> u32 {
    parts.iter().fold(crc32c::crc32c(start), |crc, part| crc32c::crc32c_append(crc, part))
}
