//! A dedup run: the digests of the keys that one range of positions claimed, as an immutable file. Derived from the log.
//!
//! ```text
//! 0 "cdr" ‖ 3 u8 format 2 ‖ 4 log id ‖ 20 epoch ‖ 36 u32 generation of the log secret ‖ 40 u64 after ‖ 48 u64 through
//! ‖ 56 chain at through, 32 B ‖ 88 i64 recorded_at there, µs ‖ 96 u32 count ‖ 100 count × (16 B digest ‖ u32 position − after)
//! ‖ u32 CRC32C of all before
//! ```
//!
//! It covers `after` (exclusive) to `through`; events without a key are not in it.

use super::super::Head;
use super::Digest;
use crate::event::{Position, Timestamp};
use crate::storage::{Garbled, Put, Take};
use crate::token::Identity;

const MAGIC: &[u8; 3] = b"cdr";
const FORMAT: u8 = 2;
const HEADER_BYTES: usize = 100;
const ENTRY_BYTES: usize = 20;
const CRC_BYTES: usize = 4;

/// The log that a run is of, and the secret that its digests are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) struct RunOrigin {
    pub identity: Identity,
    pub generation: u32,
}

/// Why a run cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::log) enum UnusableRun {
    Damaged(&'static str),
    /// A newer version of cleat wrote it.
    Newer(u8),
}

impl From<Garbled> for UnusableRun {
    fn from(garbled: Garbled) -> Self {
        Self::Damaged(garbled.0)
    }
}

/// One range of positions, and who claimed which key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log) struct Run {
    pub origin: RunOrigin,
    /// The position before its first.
    pub after: Position,
    /// At its last position.
    pub head: Head,
    pub claims: Vec<(Digest, Position)>,
}

impl Run {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.claims.len() * ENTRY_BYTES + CRC_BYTES);
        let RunOrigin { identity, generation } = self.origin;
        bytes.put(MAGIC);
        bytes.put_u8(FORMAT);
        bytes.put(&identity.log_id.to_be_bytes());
        bytes.put(&identity.epoch.to_be_bytes());
        bytes.put_u32(generation);
        bytes.put_u64(self.after);
        bytes.put_u64(self.head.position);
        bytes.put(&self.head.chain);
        bytes.put_i64(self.head.recorded_at.as_micros());
        // A run is cut long before its positions or its count outgrow 32 bits.
        bytes.put_u32(u32::try_from(self.claims.len()).unwrap_or(u32::MAX));
        for (digest, position) in &self.claims {
            digest.0.into_iter().for_each(|word| bytes.put_u64(word));
            bytes.put_u32(u32::try_from(position - self.after).unwrap_or(u32::MAX));
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32(crc);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, UnusableRun> {
        let (covered, crc) = bytes.split_at_checked(bytes.len().wrapping_sub(CRC_BYTES)).ok_or(Garbled("too short"))?;
        if Take(crc).u32()? != crc32c::crc32c(covered) {
            return Err(Garbled("its checksum is wrong").into());
        }
        let mut take = Take(covered);
        if take.array()? != *MAGIC {
            return Err(Garbled("it is no dedup run").into());
        }
        let format = take.u8()?;
        if format != FORMAT {
            return Err(UnusableRun::Newer(format));
        }
        let identity =
            Identity { log_id: u128::from_be_bytes(take.array()?), epoch: u128::from_be_bytes(take.array()?) };
        let origin = RunOrigin { identity, generation: take.u32()? };
        let after = take.u64()?;
        let (position, chain) = (take.u64()?, take.array()?);
        let head = Head { position, chain, recorded_at: Timestamp::from_micros(take.i64()?) };
        let count = take.u32()? as usize;
        let mut claims = Vec::with_capacity(count.min(take.0.len() / ENTRY_BYTES));
        for _ in 0..count {
            claims.push((Digest([take.u64()?, take.u64()?]), after + u64::from(take.u32()?)));
        }
        take.end()?;
        Ok(Self { origin, after, head, claims })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        let claims = (101..=140).map(|n| (Digest::from_bytes([u8::try_from(n).unwrap(); 16]), n)).collect();
        let head = Head { position: 150, chain: [8; 32], recorded_at: Timestamp::from_micros(9) };
        Run {
            origin: RunOrigin { identity: Identity { log_id: 7, epoch: 6 }, generation: 5 },
            after: 100,
            head,
            claims,
        }
    }

    #[test]
    fn a_run_is_read_as_it_was_written() {
        assert_eq!(Run::decode(&run().encode()), Ok(run()));
    }

    #[test]
    fn a_run_with_any_byte_changed_or_its_end_cut_is_not_read() {
        let bytes = run().encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Run::decode(&changed).is_err(), "byte {at}");
            assert!(Run::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
