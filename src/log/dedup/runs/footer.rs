//! Footer of a run: the places of its partitions, filters and blocks. Reads and writes no file. See `runs.rs` for its
//! bytes.

use std::ops::Range;

use super::block;
use super::header::PAGE_BYTES;
use crate::storage::{DecodeError, Put, Take};

/// Number of blocks in a full partition: at most 1,048,576 keys.
pub(super) const PARTITION_BLOCKS: usize = (1 << 20) / block::ENTRIES_MAX;
const MAGIC: &[u8; 6] = b"cdrend";
pub(super) const TAIL_BYTES: usize = 8 + 4 + 4 + 4 + MAGIC.len();
const PARTITION_BYTES: usize = 8 + 4 + 4 + 4;

/// Adjacent blocks with one filter, which follows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Partition {
    /// Prefix of the partition's first digest.
    pub first: u64,
    pub first_block: usize,
    pub blocks: usize,
    pub filter_bytes: usize,
    /// Offset of the first block. Follows from the partitions before this one.
    pub offset: u64,
}

impl Partition {
    pub fn filter_offset(&self) -> u64 {
        self.offset + (self.blocks * PAGE_BYTES) as u64
    }

    /// Returns the offset after the last page.
    pub fn end(&self) -> u64 {
        self.filter_offset() + self.filter_bytes.next_multiple_of(PAGE_BYTES) as u64
    }
}

/// Tail of a run, which describes the footer before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunTail {
    pub offset: u64,
    partitions: usize,
    blocks: usize,
}

impl RunTail {
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut take = Take(bytes);
        let tail = Self { offset: take.u64()?, partitions: take.u32()? as usize, blocks: take.u32()? as usize };
        take.u32()?;
        if take.0 == MAGIC { Ok(tail) } else { Err(DecodeError("the file does not end with the magic bytes of a run")) }
    }

    /// Returns the length of the footer, without the tail.
    pub fn footer_bytes(&self) -> u64 {
        self.partitions as u64 * PARTITION_BYTES as u64 + self.blocks as u64 * 8
    }
}

/// Places of all partitions and blocks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub partitions: Vec<Partition>,
    /// Prefix of the first digest of each block.
    pub firsts: Vec<u64>,
}

impl Footer {
    /// Returns the offset after the last partition.
    pub fn offset(&self) -> u64 {
        self.partitions.last().map_or(PAGE_BYTES as u64, Partition::end)
    }

    /// Returns the partitions that may hold a digest with this prefix: nearly always one.
    pub fn partitions_of(&self, prefix: u64) -> Range<usize> {
        candidates(&self.partitions, |partition| partition.first, prefix)
    }

    /// Returns the blocks that may hold a digest with this prefix.
    pub fn blocks_of(&self, prefix: u64) -> Range<usize> {
        candidates(&self.firsts, |first| *first, prefix)
    }

    /// Returns the offset of a block. `None` if there is no such block.
    pub fn block_offset(&self, block: usize) -> Option<u64> {
        let after = self.partitions.partition_point(|partition| partition.first_block <= block);
        let partition = self.partitions.get(after.checked_sub(1)?)?;
        let within = block - partition.first_block;
        (within < partition.blocks).then(|| partition.offset + (within * PAGE_BYTES) as u64)
    }

    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.partitions) + size_of_val(&*self.firsts)
    }

    /// Returns the bytes of the footer and the tail.
    pub fn encode(&self) -> Vec<u8> {
        // A run of 2^32 blocks would have 600 G keys.
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(self.partitions.len() * PARTITION_BYTES + self.firsts.len() * 8 + TAIL_BYTES);
        for partition in &self.partitions {
            out.put_u64(partition.first);
            out.put_u32(number(partition.first_block));
            out.put_u32(number(partition.blocks));
            out.put_u32(number(partition.filter_bytes));
        }
        self.firsts.iter().for_each(|first| out.put_u64(*first));
        out.put_u64(self.offset());
        out.put_u32(number(self.partitions.len()));
        out.put_u32(number(self.firsts.len()));
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out.put(MAGIC);
        out
    }

    /// Decodes the footer and the tail of a run with this number of keys.
    pub fn decode(bytes: &[u8], tail: RunTail, keys: u64) -> Result<Self, DecodeError> {
        let (covered, crc) = bytes
            .split_at_checked(bytes.len().wrapping_sub(4 + MAGIC.len()))
            .ok_or(DecodeError("the footer is too short"))?;
        if Take(crc).u32()? != crc32c::crc32c(covered) {
            return Err(DecodeError("the checksum of the footer is wrong"));
        }
        let mut take = Take(covered);
        let firsts = Vec::with_capacity(tail.blocks.min(covered.len() / 8));
        let mut footer = Self { partitions: Vec::new(), firsts };
        for _ in 0..tail.partitions {
            let offset = footer.offset();
            let first = take.u64()?;
            let first_block = take.u32()? as usize;
            let blocks = take.u32()? as usize;
            let filter_bytes = take.u32()? as usize;
            if !(1..=PARTITION_BLOCKS).contains(&blocks) {
                return Err(DecodeError("a partition has an invalid number of blocks"));
            }
            footer.partitions.push(Partition { first, first_block, blocks, filter_bytes, offset });
        }
        for _ in 0..tail.blocks {
            footer.firsts.push(take.u64()?);
        }
        if footer.agrees_with_itself() && footer.offset() == tail.offset && footer.holds(keys) {
            Ok(footer)
        } else {
            Err(DecodeError("the footer contradicts itself"))
        }
    }

    fn agrees_with_itself(&self) -> bool {
        let mut next = 0;
        let follow = self.partitions.iter().all(|partition| {
            let follows = partition.first_block == next && self.firsts.get(next) == Some(&partition.first);
            next += partition.blocks;
            follows
        });
        follow && next == self.firsts.len() && self.firsts.is_sorted()
    }

    /// Returns whether this number of keys needs exactly these blocks, all full but the last.
    fn holds(&self, keys: u64) -> bool {
        keys.div_ceil(block::ENTRIES_MAX as u64) == self.firsts.len() as u64
    }
}

/// Returns the items that may hold a prefix. Each item holds the prefixes from its first one up to the first one of the
/// next item. Both items may hold that last prefix.
fn candidates<T>(items: &[T], first: impl Fn(&T) -> u64, prefix: u64) -> Range<usize> {
    let from = items.partition_point(|item| first(item) < prefix).saturating_sub(1);
    let to = items.partition_point(|item| first(item) <= prefix);
    from..to
}
