//! Blocks: runs of adjacent records as stored values, small enough that sled never makes a blob file of them.
//!
//! ```text
//! key    u64 first position ‖ u16 chunk                                     (big endian, so keys sort by position)
//! value  of chunk 0:   0 u8 format, 1 ‖ 1 u8 codec: 0 verbatim, 1 zstd ‖ 2 u8 mark's bytes ‖ 3 u16 count
//!                      ‖ 5 u64 first position ‖ 13 i64 first, 21 i64 last recorded_at, µs
//!                      ‖ 29 hash before, 61 hash after, 32 B each
//!                      ‖ 93 u32 records' length, expanded ‖ 97 u32 payload's length ‖ 101 u32 CRC32C of 0..101 and payload
//!                      ‖ 105 payload: count × mark ‖ records
//!        of chunk 1..: the payload goes on
//! ```
//!
//! A mark is what of a record does not compress, being random: it is kept apart. A block of several records is always one
//! value; only a single record that misses the limit is chunked.

use std::cell::RefCell;

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};

use crate::event::{Hash, Position, Timestamp};
use crate::storage::{Garbled, Put, Take};

/// No stored value is larger. A leaf page of sled holds at most 19 entries, so it stays below the 131,052 B from which
/// sled would write a blob file, which it never syncs (docs/architecture.md, "The log").
pub const VALUE_BYTES_MAX: usize = 6 * 1024;
/// The largest record that may be written: what a builder takes, a block can always be read back. Only a record that is a block
/// by itself comes near it. Bounds what a damaged header can make a reader allocate.
pub const EXPANDED_BYTES_MAX: usize = 256 * 1024 * 1024;
const HEADER_BYTES: usize = 105;
const FORMAT: u8 = 1;

/// Where a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub first: Position,
    pub chunk: u16,
}

impl Key {
    pub const LAST: Self = Self { first: Position::MAX, chunk: u16::MAX };

    pub fn block(first: Position) -> Self {
        Self { first, chunk: 0 }
    }

    pub fn to_bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.first.to_be_bytes());
        bytes[8..].copy_from_slice(&self.chunk.to_be_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Garbled> {
        let mut take = Take(bytes);
        let key = Self { first: take.u64()?, chunk: take.u16()? };
        take.end()?;
        Ok(key)
    }
}

/// A value, and where to store it.
pub type Entry = (Key, Vec<u8>);

/// Whether an entry is a block by itself, not a chunk of one: a chunked block's first value is full.
pub fn is_whole(key: Key, value: &[u8]) -> bool {
    key.chunk == 0 && value.len() < VALUE_BYTES_MAX
}

/// Gathers adjacent records and encodes them into as few blocks as fit.
pub struct Builder {
    first: Position,
    before: Hash,
    records: Vec<u8>,
    marks: Vec<u8>,
    ends: Vec<End>,
}

/// The end of one record in `records`.
struct End {
    at: usize,
    hash: Hash,
    recorded_at: Timestamp,
}

impl Builder {
    /// For records from `first` on; `before` is the hash before it.
    pub fn new(first: Position, before: Hash) -> Self {
        Self { first, before, records: Vec::new(), marks: Vec::new(), ends: Vec::new() }
    }

    /// Adds the next record, as `write` appends it. All marks of a builder are of one length.
    pub fn push(&mut self, recorded_at: Timestamp, hash: Hash, mark: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.records);
        self.marks.extend_from_slice(mark);
        self.ends.push(End { at: self.records.len(), hash, recorded_at });
    }

    /// The position of its first record.
    pub fn first(&self) -> Position {
        self.first
    }

    /// The hash after the last record.
    pub fn hash(&self) -> Hash {
        self.ends.last().map_or(self.before, |end| end.hash)
    }

    /// The position after the last record.
    pub fn next(&self) -> Position {
        self.first + self.ends.len() as u64
    }

    /// Expanded bytes so far.
    pub fn records_len(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The entries that hold all these records, in order.
    pub fn encode(&self, compressor: &mut Compressor<'_>) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.encode_range(0, self.ends.len(), compressor, &mut entries);
        entries
    }

    fn encode_range(&self, from: usize, to: usize, compressor: &mut Compressor<'_>, entries: &mut Vec<Entry>) {
        if from == to {
            return;
        }
        let value = self.encode_block(from, to, compressor);
        let count = to - from;
        if value.len() > VALUE_BYTES_MAX && count > 1 {
            let middle = from + count / 2;
            self.encode_range(from, middle, compressor, entries);
            return self.encode_range(middle, to, compressor, entries);
        }
        let first = self.first + from as u64;
        for (chunk, part) in (0..=u16::MAX).zip(value.chunks(VALUE_BYTES_MAX)) {
            entries.push((Key { first, chunk }, part.to_vec()));
        }
    }

    fn encode_block(&self, from: usize, to: usize, compressor: &mut Compressor<'_>) -> Vec<u8> {
        let (start, before) = from.checked_sub(1).map_or((0, self.before), |at| (self.ends[at].at, self.ends[at].hash));
        let (ends, last) = (&self.ends[from..to], &self.ends[to - 1]);
        let mark_len = self.marks.len() / self.ends.len();
        let records = &self.records[start..last.at];
        let compressed = compressor.compress(records).ok().filter(|compressed| compressed.len() < records.len());
        let (codec, stored) = compressed.as_ref().map_or((0, records), |compressed| (1, &compressed[..]));
        let payload_len = ends.len() * mark_len + stored.len();

        let mut value = Vec::with_capacity(HEADER_BYTES + payload_len);
        value.put_u8(FORMAT);
        value.put_u8(codec);
        value.put_u8(count_of(mark_len));
        value.put_u16(count_of(ends.len()));
        value.put_u64(self.first + from as u64);
        value.put_i64(ends[0].recorded_at.as_micros());
        value.put_i64(last.recorded_at.as_micros());
        value.put(&before);
        value.put(&last.hash);
        value.put_u32(count_of(records.len()));
        value.put_u32(count_of(payload_len));
        value.put_u32(0);
        value.put(&self.marks[from * mark_len..to * mark_len]);
        value.put(stored);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&value[..HEADER_BYTES - 4]), &value[HEADER_BYTES..]);
        value[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
        value
    }
}

/// A block holds some 70 KiB of records, or one larger record: its numbers are far below what their fields hold.
fn count_of<T: TryFrom<usize> + Default>(n: usize) -> T {
    debug_assert!(T::try_from(n).is_ok());
    T::try_from(n).unwrap_or_default()
}

/// A block's header, as far as it can be trusted before the checksum is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub first: Position,
    pub count: u16,
    pub before: Hash,
    pub after: Hash,
    pub first_recorded_at: Timestamp,
    pub last_recorded_at: Timestamp,
    mark_len: usize,
    codec: u8,
    records_len: usize,
    payload_len: usize,
    crc: u32,
}

impl Header {
    /// Of chunk 0's value.
    pub fn read(value: &[u8]) -> Result<Self, Garbled> {
        let mut take = Take(value);
        if take.u8()? != FORMAT {
            return Err(Garbled("unknown block format"));
        }
        let header = Self {
            codec: take.u8()?,
            mark_len: take.u8()?.into(),
            count: take.u16()?,
            first: take.u64()?,
            first_recorded_at: Timestamp::from_micros(take.i64()?),
            last_recorded_at: Timestamp::from_micros(take.i64()?),
            before: take.array()?,
            after: take.array()?,
            records_len: take.u32()? as usize,
            payload_len: take.u32()? as usize,
            crc: take.u32()?,
        };
        let sane = header.count > 0 && header.first > 0 && header.first.checked_add(header.count.into()).is_some();
        if sane { Ok(header) } else { Err(Garbled("a block's header cannot be")) }
    }

    /// The last position it holds.
    pub fn last(&self) -> Position {
        self.first + u64::from(self.count) - 1
    }

    /// How many values the block is stored in. Only a checksum makes it trustworthy.
    pub fn chunks(&self) -> usize {
        (HEADER_BYTES + self.payload_len).div_ceil(VALUE_BYTES_MAX)
    }
}

/// A whole block, its checksum good.
pub struct Block {
    pub header: Header,
    marks: Vec<u8>,
    /// One after the other; where each ends is its owner's business.
    pub records: Bytes,
}

impl Block {
    /// From the values of all its chunks, joined.
    pub fn decode(value: &[u8]) -> Result<Self, Garbled> {
        let header = Header::read(value)?;
        let payload = &value[HEADER_BYTES..];
        if payload.len() != header.payload_len {
            return Err(Garbled("a block is not as long as it says"));
        }
        if crc32c::crc32c_append(crc32c::crc32c(&value[..HEADER_BYTES - 4]), payload) != header.crc {
            return Err(Garbled("a block's checksum is wrong"));
        }
        let mut payload = Take(payload);
        let marks = payload.bytes(usize::from(header.count) * header.mark_len)?.to_vec();
        Ok(Self { header, marks, records: expand(&header, payload.0)? })
    }

    /// Of each record, in order; [`Garbled`] if they are not of this length.
    pub fn marks<const N: usize>(&self) -> Result<&[[u8; N]], Garbled> {
        let (marks, rest) = self.marks.as_chunks();
        let whole = rest.is_empty() && marks.len() == usize::from(self.header.count);
        if whole { Ok(marks) } else { Err(Garbled("a block's marks are of another length")) }
    }
}

/// A context is 160 KB to set up: one a thread.
fn decompress(stored: &[u8], len: usize) -> std::io::Result<Vec<u8>> {
    thread_local! {
        static CONTEXT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    CONTEXT.with_borrow_mut(|context| match context {
        Some(context) => context.decompress(stored, len),
        None => context.insert(Decompressor::new()?).decompress(stored, len),
    })
}

fn expand(header: &Header, stored: &[u8]) -> Result<Bytes, Garbled> {
    if header.records_len > EXPANDED_BYTES_MAX {
        return Err(Garbled("a block says it is larger than blocks can be"));
    }
    let raw = match header.codec {
        0 => stored.to_vec(),
        1 => decompress(stored, header.records_len).map_err(|_| Garbled("a block does not expand"))?,
        _ => return Err(Garbled("unknown block codec")),
    };
    if raw.len() == header.records_len { Ok(raw.into()) } else { Err(Garbled("a block expands to another length")) }
}
