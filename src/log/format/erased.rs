//! Body of the record of an erasure, which is a record of kind [`Kind::ERASED`](crate::event::Kind::ERASED). Only read:
//! nothing makes one yet. It names no id of the erased records.
//!
//! ```text
//! u8 version 1 ‖ u32 generation of the log secret ‖ u32 count ‖ count × u32 subject numbers, which are retired
//! ‖ u32 count ‖ count × (u64 position ‖ 16 B dedup digest of its key, under the log secret) ‖ u32 length ‖ who ‖ u32 length ‖ why
//! ```
//!
//! The keys of erased records are gone with their private bytes. Their digests keep a retry from bringing a record
//! back.

use crate::event::Position;
use crate::storage::{DecodeError, Take};

const VERSION: u8 = 1;

/// Record that was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) struct ErasedRecord {
    pub position: Position,
    /// Dedup digest of its key.
    pub digest: [u8; 16],
}

/// Body of the record of an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log) struct ErasedPayload {
    /// Generation of the log secret that keys the digests.
    pub generation: u32,
    /// Retired subject numbers.
    pub subjects: Vec<u32>,
    pub records: Vec<ErasedRecord>,
    pub who: String,
    pub why: String,
}

impl ErasedPayload {
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut take = Take(bytes);
        if take.u8()? != VERSION {
            return Err(DecodeError("an erasure has the encoding of a newer version"));
        }
        let generation = take.u32()?;
        // Grows only while there are bytes, whatever a count says.
        let subjects = (0..take.u32()?).map(|_| take.u32()).collect::<Result<_, _>>()?;
        let count = take.u32()?;
        let record = |_| Ok(ErasedRecord { position: take.u64()?, digest: take.array()? });
        let records = (0..count).map(record).collect::<Result<_, DecodeError>>()?;
        let payload = Self { generation, subjects, records, who: take.text()?, why: take.text()? };
        take.end()?;
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Put as _;

    fn encoded() -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_u32(3);
        out.put_u32(2);
        out.put_u32(7);
        out.put_u32(8);
        out.put_u32(1);
        out.put_u64(90);
        out.put(&[5; 16]);
        out.put_prefixed(b"admin");
        out.put_prefixed("gel\u{f6}scht".as_bytes());
        out
    }

    #[test]
    fn an_erasure_is_read_whole() {
        let payload = ErasedPayload {
            generation: 3,
            subjects: vec![7, 8],
            records: vec![ErasedRecord { position: 90, digest: [5; 16] }],
            who: "admin".into(),
            why: "gel\u{f6}scht".into(),
        };
        assert_eq!(ErasedPayload::decode(&encoded()), Ok(payload));
    }

    #[test]
    fn bytes_that_are_no_erasure_are_refused() {
        let good = encoded();
        for length in 0..good.len() {
            assert!(ErasedPayload::decode(&good[..length]).is_err(), "{length} bytes");
        }
        assert!(ErasedPayload::decode(&[&good[..], &[0]].concat()).is_err());
        let mut newer = good.clone();
        newer[0] = 2;
        assert!(ErasedPayload::decode(&newer).is_err());
        let mut countless = good;
        countless[5..9].copy_from_slice(&[0xff; 4]);
        assert!(ErasedPayload::decode(&countless).is_err());
    }
}
