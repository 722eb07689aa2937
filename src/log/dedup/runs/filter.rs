//! Binary fuse filter over the digest prefixes of one partition. Always says yes for a prefix that is present, and for
//! one in 65,536 of the others. Knows nothing of blocks and files. See `runs.rs` for its bytes.
//!
//! ```text
//! h  = mix(prefix + seed), the 64-bit finaliser of MurmurHash3
//! s  = segment length, a power of two; n = segments
//! i0 = h × n × s / 2^64      i1 = (i0 + s) ^ (h >> 18) % s      i2 = (i0 + 2 × s) ^ h % s
//! yes if print[i0] ^ print[i1] ^ print[i2] = the lowest 16 bits of h ^ h >> 32
//! ```
//!
//! xorf finds the prints, always the same ones for the same prefixes. It never reads them: its next version may hash
//! differently, and the answers of a stored filter must not change.

use xorf::BinaryFuse16;

use crate::storage::{DecodeError, Put, Take};

const CRC_BYTES: usize = 4;
/// Bytes of a filter without its prints.
pub(super) const FRAMING_BYTES: usize = 8 + 4 + 4 + CRC_BYTES;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter {
    seed: u64,
    segment_length: u32,
    segments: u32,
    prints: Box<[u16]>,
}

impl Filter {
    /// Builds the filter of prefixes, which must all be different.
    pub fn build(prefixes: &[u64]) -> Result<Self, &'static str> {
        let made = BinaryFuse16::try_from(prefixes)?;
        let segment_length = made.descriptor.segment_length;
        let segments = made.descriptor.segment_count_length / segment_length.max(1);
        Ok(Self { seed: made.descriptor.seed, segment_length, segments, prints: made.fingerprints })
    }

    pub fn may_contain(&self, prefix: u64) -> bool {
        let hash = mix(prefix.wrapping_add(self.seed));
        let length = u64::from(self.segment_length);
        let places = u128::from(hash) * u128::from(u64::from(self.segments) * length);
        let first = u64::try_from(places >> 64).unwrap_or_default();
        let second = (first + length) ^ ((hash >> 18) & (length - 1));
        let third = (first + 2 * length) ^ (hash & (length - 1));
        let print = |at: u64| usize::try_from(at).ok().and_then(|at| self.prints.get(at)).copied().unwrap_or_default();
        u64::from(print(first) ^ print(second) ^ print(third)) == (hash ^ (hash >> 32)) & u64::from(u16::MAX)
    }

    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.prints)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FRAMING_BYTES + 2 * self.prints.len());
        out.put_u64(self.seed);
        out.put_u32(self.segment_length);
        out.put_u32(self.segments);
        self.prints.iter().for_each(|print| out.put_u16(*print));
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (covered, crc) =
            bytes.split_at_checked(bytes.len().wrapping_sub(CRC_BYTES)).ok_or(DecodeError("a filter is too short"))?;
        if Take(crc).u32()? != crc32c::crc32c(covered) {
            return Err(DecodeError("the checksum of a filter is wrong"));
        }
        let mut take = Take(covered);
        let seed = take.u64()?;
        let segment_length = take.u32()?;
        let segments = take.u32()?;
        let (prints, rest) = take.0.as_chunks();
        let length = (u64::from(segments) + 2).checked_mul(u64::from(segment_length));
        if !rest.is_empty() || length != Some(prints.len() as u64) || !segment_length.is_power_of_two() || segments == 0
        {
            return Err(DecodeError("the length of a filter does not match its fields"));
        }
        let prints = prints.iter().map(|print| u16::from_be_bytes(*print)).collect();
        Ok(Self { seed, segment_length, segments, prints })
    }
}

/// The finaliser of `MurmurHash3`.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}
