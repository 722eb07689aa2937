//! Header of a run: the log and the positions that it belongs to. Knows nothing of blocks and filters. See `runs.rs`
//! for its bytes.

use super::span::Span;
use crate::event::{Identity, Point, Position, Timestamp};
use crate::log::dedup::key::RunOrigin;
use crate::storage::{DecodeError, Put, Take};

/// Bytes of a page, the unit of a look-up.
pub const PAGE_BYTES: usize = 4096;

/// Log, fingerprint version and positions of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) struct RunHeader {
    pub origin: RunOrigin,
    /// Version of the fingerprint algorithm.
    pub fingerprint_version: u8,
    /// Position before the run's first one.
    pub after: Position,
    /// Head at the run's last position.
    pub head: Point,
}

impl RunHeader {
    pub fn span(&self) -> Span {
        Span { after: self.after, through: self.head.position }
    }
}

const MAGIC: &[u8; 3] = b"cdr";
pub(super) const FORMAT: u8 = 3;
/// Number of bytes before the checksum.
pub(super) const CHECKED_BYTES: usize = 3 + 1 + 16 + 16 + 4 + 1 + 8 + 8 + 32 + 8 + 8;
const BYTES: usize = CHECKED_BYTES + 4;

/// Reason why a header cannot be used.
#[derive(Debug)]
pub(super) enum UnreadableRun {
    DecodeError(DecodeError),
    Older(u8),
    Newer(u8),
}

impl From<DecodeError> for UnreadableRun {
    fn from(error: DecodeError) -> Self {
        Self::DecodeError(error)
    }
}

/// Content of the header page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeaderPage {
    pub header: RunHeader,
    pub keys: u64,
}

impl HeaderPage {
    pub fn encode(&self) -> Vec<u8> {
        let RunHeader { origin, fingerprint_version, after, head } = self.header;
        let mut out = Vec::with_capacity(PAGE_BYTES);
        out.put(MAGIC);
        out.put_u8(FORMAT);
        out.put(&origin.identity.to_bytes());
        out.put_u32(origin.generation);
        out.put_u8(fingerprint_version);
        out.put_u64(after);
        out.put_u64(head.position);
        out.put(&head.chain);
        out.put_i64(head.recorded_at.as_micros());
        out.put_u64(self.keys);
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out.resize(PAGE_BYTES, 0);
        out
    }

    /// Decodes the beginning of a file, which may be shorter than a page.
    pub fn decode(bytes: &[u8]) -> Result<Self, UnreadableRun> {
        let mut take = Take(bytes);
        if take.array()? != *MAGIC {
            return Err(DecodeError("it is not a dedup run").into());
        }
        let format = take.u8()?;
        // The older formats have their checksum elsewhere.
        if format < FORMAT {
            return Err(UnreadableRun::Older(format));
        }
        let checked = bytes.get(..CHECKED_BYTES).ok_or(DecodeError("it is too short"))?;
        if Take(&bytes[CHECKED_BYTES..]).u32()? != crc32c::crc32c(checked) {
            return Err(DecodeError("the checksum of the header is wrong").into());
        }
        // Only an intact header says which version wrote it.
        if format > FORMAT {
            return Err(UnreadableRun::Newer(format));
        }
        let identity = Identity::from_bytes(take.array()?);
        let origin = RunOrigin { identity, generation: take.u32()? };
        let fingerprint_version = take.u8()?;
        let after = take.u64()?;
        let head =
            Point { position: take.u64()?, chain: take.array()?, recorded_at: Timestamp::from_micros(take.i64()?) };
        let keys = take.u64()?;
        if bytes.len() != PAGE_BYTES || bytes[BYTES..].iter().any(|byte| *byte != 0) {
            return Err(DecodeError("the rest of the header page is not empty").into());
        }
        if head.position <= after {
            return Err(DecodeError("its range ends before it begins").into());
        }
        Ok(Self { header: RunHeader { origin, fingerprint_version, after, head }, keys })
    }
}
