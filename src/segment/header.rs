//! The header of a segment file: which log, which range, and which source. Must not know the frames. See `segment.rs`
//! for its bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::error::SegmentError;
use super::name::SegmentName;
use crate::event::{Hash, Identity, Position};
use crate::storage::{DecodeError, Put, Take};

const MAGIC: &[u8; 8] = b"cleatseg";
const FORMAT: u8 = 1;
pub(super) const BYTES: usize = 8 + 1 + 32 + 8 + 32 + 8 + 1 + 4;

/// Header of a segment: its log, its range and its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    pub identity: Identity,
    /// First position, at least 1.
    pub first: Position,
    /// Chain value before the first position.
    pub before: Hash,
    /// Sequence of the journal that it was sealed from. 0 if it was merged from other segments.
    pub source: u64,
    /// Number of times that its records were merged.
    pub merges: u8,
}

/// Reason why a header cannot be used.
pub(super) enum UnreadableSegment {
    DecodeError(DecodeError),
    Newer(u8),
}

impl From<DecodeError> for UnreadableSegment {
    fn from(error: DecodeError) -> Self {
        Self::DecodeError(error)
    }
}

impl UnreadableSegment {
    /// Converts to the error of a file. `from` is its first position.
    pub fn of(self, path: &Path, from: Position) -> SegmentError {
        match self {
            Self::DecodeError(error) => SegmentError::Damaged { path: path.to_owned(), from, reason: error.0 },
            Self::Newer(format) => SegmentError::Newer { path: path.to_owned(), format },
        }
    }
}

/// Reads the header of a segment file whose first position is `first`.
pub(super) fn read_header(file: &File, path: &Path, first: Position) -> Result<SegmentHeader, SegmentError> {
    let mut bytes = [0; BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let reason = "the file is too short";
            return Err(SegmentError::Damaged { path: path.to_owned(), from: first, reason });
        }
        read => read.map_err(SegmentError::io("read", path))?,
    }
    SegmentHeader::decode(&bytes).map_err(|unreadable| unreadable.of(path, first))
}

impl SegmentHeader {
    /// Reads the header of the file at `path`, whose `name` says which range it holds.
    pub fn read(path: &Path, name: SegmentName) -> Result<Self, SegmentError> {
        let file = File::open(path).map_err(SegmentError::io("open", path))?;
        read_header(&file, path, name.first)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.put(MAGIC);
        out.put_u8(FORMAT);
        out.put(&self.identity.to_bytes());
        out.put_u64(self.first);
        out.put(&self.before);
        out.put_u64(self.source);
        out.put_u8(self.merges);
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out
    }

    /// Decodes the first [`BYTES`] of a file.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, UnreadableSegment> {
        let mut take = Take(bytes);
        if take.array()? != *MAGIC {
            return Err(DecodeError("it is not a segment").into());
        }
        let format = take.u8()?;
        let header = Self {
            identity: Identity::from_bytes(take.array()?),
            first: take.u64()?,
            before: take.array()?,
            source: take.u64()?,
            merges: take.u8()?,
        };
        if take.u32()? != crc32c::crc32c(&bytes[..BYTES - 4]) {
            return Err(DecodeError("the checksum of the header is wrong").into());
        }
        // Only a whole header says which format wrote it.
        if format != FORMAT {
            return Err(UnreadableSegment::Newer(format));
        }
        if header.first == 0 {
            return Err(DecodeError("a segment cannot begin at position 0").into());
        }
        Ok(header)
    }
}
