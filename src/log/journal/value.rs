//! Values of a journal: how a frame and the dedup keys of its records are encoded. Knows no sled and no files.
//!
//! ```text
//! key    u64 first position ‖ u16 chunk
//! value  0 u8 format 2 ‖ 1 u64 first position ‖ 9 u16 chunk ‖ 11 u16 chunks ‖ 13 u16 length of the part
//!        ‖ 15 u32 CRC32C of all but this field ‖ 19 part
//! the parts, joined:  u32 generation of the log secret ‖ u32 length of the frame ‖ frame ‖ count × (digest, 16 B ‖ fingerprint, 8 B)
//! ```
//!
//! Fingerprints of format 2 are of version 1: another version raises the format. Format 1 had none: they are read as
//! zeros, which stand for an unknown fingerprint.
//!
//! Every part but the last has the greatest length that a part may have. A value repeats its key, so that it can be
//! found without one. The search ignores a value of an unknown format. A version that writes a new format also raises
//! the format of `CLEAT`, so that older versions refuse the directory.

use bytes::Bytes;

use crate::event::Position;
use crate::segment::{FRAME_BYTES_MAX, Frame};
use crate::storage::{DecodeError, Put, Take};

const FORMAT: u8 = 2;
/// Version of the fingerprints in this format.
pub const FINGERPRINT_VERSION: u8 = 1;
const FORMAT_WITHOUT_FINGERPRINTS: u8 = 1;
const HEADER_BYTES: usize = 19;
const CRC_AT: usize = 15;
/// Limit of a value. It is small, so that no page of sled comes near the size at which sled writes a separate file,
/// which it never syncs.
pub const VALUE_BYTES_MAX: usize = 6 * 1024;
const PART_BYTES_MAX: usize = VALUE_BYTES_MAX - HEADER_BYTES;
/// Limit of records in a frame. Bounds the bytes that are joined.
const COUNT_MAX: usize = 64 * 1024;
/// Bytes of the generation and the length.
const PREFIX_BYTES: usize = 8;
const DIGEST_BYTES: usize = 16;
const FINGERPRINT_BYTES: usize = 8;
const KEY_BYTES: usize = DIGEST_BYTES + FINGERPRINT_BYTES;
const CHUNKS_MAX: usize = joined_bytes(FRAME_BYTES_MAX, COUNT_MAX).div_ceil(PART_BYTES_MAX);

pub type ValueKey = [u8; 10];

/// Dedup key of a record: short digests of its claim and of its content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalKey {
    /// Digest that is equal for two records of one key. Zeros if the record claims no key.
    pub digest: [u8; DIGEST_BYTES],
    /// Digest that is equal for two records with the same content. Zeros if it is not known.
    pub fingerprint: [u8; FINGERPRINT_BYTES],
}

/// Frame, and one key for each of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalFrame {
    /// Generation of the log secret that the keys are made with.
    pub generation: u32,
    pub frame: Bytes,
    pub keys: Vec<JournalKey>,
}

/// One value, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValuePart<'a> {
    pub format: u8,
    pub first: Position,
    pub chunk: u16,
    pub chunks: u16,
    pub bytes: &'a [u8],
}

pub fn key(first: Position, chunk: u16) -> ValueKey {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// Returns the size of the largest frame that takes one value, if it has at most this number of records.
pub const fn frame_bytes_max(count: usize) -> usize {
    PART_BYTES_MAX.saturating_sub(joined_bytes(0, count))
}

/// Returns the bytes of the values of a frame with this number of records.
pub const fn values_bytes(frame_bytes: usize, count: usize) -> usize {
    let joined = joined_bytes(frame_bytes, count);
    joined + joined.div_ceil(PART_BYTES_MAX) * HEADER_BYTES
}

const fn joined_bytes(frame_bytes: usize, count: usize) -> usize {
    PREFIX_BYTES.saturating_add(frame_bytes).saturating_add(KEY_BYTES.saturating_mul(count))
}

/// Encodes a frame as values, in the order in which they must be put. Chunk 0 is last: without it there is no frame.
pub fn encode(frame: &JournalFrame) -> Result<Vec<(ValueKey, Vec<u8>)>, DecodeError> {
    let header = Frame::decode(&frame.frame)?.header;
    if frame.keys.len() > COUNT_MAX || frame.keys.len() != header.count as usize {
        return Err(DecodeError("a frame does not have one key for each record"));
    }
    let mut joined = Vec::with_capacity(joined_bytes(frame.frame.len(), frame.keys.len()));
    joined.put_u32(frame.generation);
    joined.put_prefixed(&frame.frame);
    for key in &frame.keys {
        joined.put(&key.digest);
        joined.put(&key.fingerprint);
    }
    let too_large = |_| DecodeError("a frame is too large");
    let parts: Vec<&[u8]> = joined.chunks(PART_BYTES_MAX).collect();
    let chunks = u16::try_from(parts.len()).map_err(too_large)?;
    let values = parts.into_iter().enumerate().rev().map(|(chunk, bytes)| {
        let part = ValuePart {
            format: FORMAT,
            first: header.first,
            chunk: u16::try_from(chunk).map_err(too_large)?,
            chunks,
            bytes,
        };
        Ok((key(part.first, part.chunk), part.encode()?))
    });
    values.collect()
}

/// Decodes a frame from the joined bytes of all parts, and their format.
pub fn join(format: u8, joined: &[u8]) -> Result<JournalFrame, DecodeError> {
    let mut take = Take(joined);
    let generation = take.u32()?;
    let frame = take.prefixed()?;
    let header = Frame::decode(frame)?.header;
    // Each key takes at least one byte: a wrong count runs out of bytes before it takes memory.
    let mut keys = Vec::with_capacity((header.count as usize).min(take.0.len()));
    for _ in 0..header.count {
        let digest = take.array()?;
        let fingerprint = if format == FORMAT_WITHOUT_FINGERPRINTS { Default::default() } else { take.array()? };
        keys.push(JournalKey { digest, fingerprint });
    }
    take.end()?;
    Ok(JournalFrame { generation, frame: Bytes::copy_from_slice(frame), keys })
}

impl<'a> ValuePart<'a> {
    fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        let length = u16::try_from(self.bytes.len()).map_err(|_| DecodeError("a part is too long"))?;
        let mut out = Vec::with_capacity(HEADER_BYTES + self.bytes.len());
        out.put_u8(self.format);
        out.put_u64(self.first);
        out.put_u16(self.chunk);
        out.put_u16(self.chunks);
        out.put_u16(length);
        out.put_u32(crc32c::crc32c_append(crc32c::crc32c(&out), self.bytes));
        out.put(self.bytes);
        Ok(out)
    }

    /// Decodes exactly the bytes of one value.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let part = Self::begin(value)?;
        if part.value_bytes() == value.len() { Ok(part) } else { Err(DecodeError("bytes follow the end of a value")) }
    }

    /// Decodes the value that `bytes` begin with, whatever follows it.
    pub fn begin(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut take = Take(bytes);
        let format = take.u8()?;
        if !matches!(format, FORMAT_WITHOUT_FINGERPRINTS | FORMAT) {
            return Err(DecodeError("no value of a known format begins here"));
        }
        let first = take.u64()?;
        let chunk = take.u16()?;
        let chunks = take.u16()?;
        let length = usize::from(take.u16()?);
        let crc = take.u32()?;
        let is_last = u32::from(chunk) + 1 == u32::from(chunks);
        let is_possible = first > 0
            && chunk < chunks
            && usize::from(chunks) <= CHUNKS_MAX
            && (1..=PART_BYTES_MAX).contains(&length)
            && (is_last || length == PART_BYTES_MAX);
        if !is_possible {
            return Err(DecodeError("a value's fields are invalid"));
        }
        let part = take.bytes(length)?;
        if crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), part) != crc {
            return Err(DecodeError("a value's checksum is wrong"));
        }
        Ok(Self { format, first, chunk, chunks, bytes: part })
    }

    pub fn value_bytes(&self) -> usize {
        HEADER_BYTES + self.bytes.len()
    }
}
