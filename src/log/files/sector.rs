//! Records of one sector, 512 bytes, so that few disks ever tear one. Knows no record's fields.
//!
//! ```text
//! 0 magic ‖ 8 u8 format ‖ 9 fields ‖ zeros ‖ 508 u32 CRC32C of 0..508
//! ```
//!
//! The checksum is in the same place in every format, so that a newer one can be recognised.

use super::file::Undecodable;

pub const BYTES: usize = 512;
/// Distance between two copies of a record: no write to one touches a page or a disk's block of the other.
pub const BLOCK: usize = 4096;

const FIELDS: usize = 9;
const CRC: usize = BYTES - 4;
pub type Sector = [u8; BYTES];

/// Encodes a record of these fields, which are at most 499 bytes.
pub fn seal(magic: [u8; 8], format: u8, fields: &[u8]) -> Sector {
    let mut sector = [0; BYTES];
    sector[..8].copy_from_slice(&magic);
    sector[8] = format;
    sector[FIELDS..FIELDS + fields.len()].copy_from_slice(fields);
    let crc = crc32c::crc32c(&sector[..CRC]);
    sector[CRC..].copy_from_slice(&crc.to_be_bytes());
    sector
}

/// Returns the fields of a whole record of this format, and the zeros after them.
pub fn open(bytes: &[u8], magic: [u8; 8], format: u8) -> Result<&[u8], Undecodable> {
    let sector = bytes.get(..BYTES).ok_or(Undecodable::Damaged("it is cut short"))?;
    if sector[CRC..] != crc32c::crc32c(&sector[..CRC]).to_be_bytes() {
        return Err(Undecodable::Damaged("its checksum is wrong"));
    }
    if sector[..8] != magic {
        return Err(Undecodable::Damaged("its magic bytes are wrong"));
    }
    match sector[8] {
        found if found == format => Ok(&sector[FIELDS..CRC]),
        found if found > format => Err(Undecodable::Newer { format: found.into(), made_by: None }),
        _ => Err(Undecodable::Damaged("it has an unknown format")),
    }
}
