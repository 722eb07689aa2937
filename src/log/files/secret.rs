//! `<data>/SECRET`: the log secret, in two copies, and the digests that it keys. Never in a backup of the log, never
//! printed. Knows no other file.
//!
//! ```text
//! 0 and 4096   "cleatkey" ‖ u8 format 1 ‖ u32 generation ‖ secret, 32 B ‖ zeros ‖ u32 CRC32C, see `sector.rs`
//! ```

use std::fmt;
use std::path::Path;

use hmac::digest::KeyInit as _;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use super::file::{FileError, Undecodable, failed, read_file};
use super::sector::{self, BLOCK};
use crate::storage::{DecodeError, Put, Take, write_private};

const MAGIC: [u8; 8] = *b"cleatkey";
const FORMAT: u8 = 1;
const FILE_BYTES: usize = 2 * BLOCK;
const HMAC_BLOCK: usize = 64;

/// Key of fingerprints and dedup digests.
#[derive(Clone, PartialEq, Eq)]
pub struct LogSecret {
    /// Number that grows when a new secret replaces a lost or wrong one.
    pub generation: u32,
    pub key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for LogSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSecret").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// State and content of the file.
#[derive(Debug, PartialEq, Eq)]
pub enum SecretRead {
    Whole(LogSecret),
    /// One copy, or a byte that belongs to neither, is damaged: writing the secret again repairs the file.
    Damaged(LogSecret),
    /// Neither copy is whole, or both are and differ.
    Lost,
    Missing,
    Newer {
        format: u32,
    },
}

impl LogSecret {
    /// Returns the first 16 bytes of HMAC-SHA-256 over the label and the parts, each after its length: no two lists of
    /// parts give the same input.
    pub fn keyed(&self, label: &[u8], parts: &[&[u8]]) -> [u8; 16] {
        let mut block = Zeroizing::new([0; HMAC_BLOCK]);
        block[..32].copy_from_slice(&*self.key);
        // HMAC pads a shorter key with zeros anyway. A key of a whole block is one that it cannot refuse.
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        for part in [label].iter().chain(parts) {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        let mut keyed = [0; 16];
        keyed.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        keyed
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut fields = Zeroizing::new(Vec::with_capacity(4 + 32));
        fields.put_u32(self.generation);
        fields.put(&*self.key);
        let mut copy = sector::seal(MAGIC, FORMAT, &fields);
        let mut file = Zeroizing::new(vec![0; FILE_BYTES]);
        for at in [0, BLOCK] {
            file[at..at + copy.len()].copy_from_slice(&copy);
        }
        copy.zeroize();
        file
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, Undecodable> {
        let mut fields = Take(sector::open(bytes, MAGIC, FORMAT)?);
        let mut read = || Ok(Self { generation: fields.u32()?, key: Zeroizing::new(fields.array()?) });
        read().map_err(|DecodeError(reason)| Undecodable::Damaged(reason))
    }
}

pub(super) fn decode(bytes: &[u8]) -> SecretRead {
    let copies = [0, BLOCK].map(|at| LogSecret::decode_copy(bytes.get(at..).unwrap_or_default()));
    if let Some(format) = copies.iter().find_map(|copy| match copy {
        Err(Undecodable::Newer { format, .. }) => Some(*format),
        _ => None,
    }) {
        return SecretRead::Newer { format };
    }
    match copies {
        [Ok(one), Ok(other)] if one != other => SecretRead::Lost,
        [Ok(secret), _] | [_, Ok(secret)] if *secret.encode() == bytes => SecretRead::Whole(secret),
        [Ok(secret), _] | [_, Ok(secret)] => SecretRead::Damaged(secret),
        [Err(_), Err(_)] => SecretRead::Lost,
    }
}

pub fn read(path: &Path) -> Result<SecretRead, FileError> {
    Ok(read_file(path, FILE_BYTES)?.map_or(SecretRead::Missing, |bytes| decode(&bytes)))
}

/// Replaces both copies. Durable when it returns, and at no time readable by other users.
pub fn write(path: &Path, secret: &LogSecret) -> Result<(), FileError> {
    write_private(path, &secret.encode()).map_err(failed("write", path))
}
