//! Data block of a run: sorted entries in one page. Knows nothing of the blocks around it. See `runs.rs` for its bytes.

use super::header::PAGE_BYTES;
use super::span::Span;
use crate::event::Position;
use crate::log::dedup::key::{Digest, Fingerprint, KeyEntry};
use crate::storage::{DecodeError, Put, Take};

const POSITION_BYTES: usize = 5;
const ENTRY_BYTES: usize = 16 + POSITION_BYTES + 8;
const CRC_BYTES: usize = 4;
/// Number of entries in a full block.
pub(super) const ENTRIES_MAX: usize = (PAGE_BYTES - 2 - CRC_BYTES) / ENTRY_BYTES;
/// Last position that an entry can hold.
pub(super) const POSITION_MAX: Position = (1 << (8 * POSITION_BYTES)) - 1;

/// Encodes up to [`ENTRIES_MAX`] entries. They must be in order of digest, and none may have a position above
/// [`POSITION_MAX`].
pub(super) fn encode(entries: &[KeyEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PAGE_BYTES);
    out.put_u16(u16::try_from(entries.len()).unwrap_or(u16::MAX));
    for entry in entries {
        out.put(&entry.digest.to_bytes());
        out.put(&entry.position.to_be_bytes()[8 - POSITION_BYTES..]);
        out.put(&entry.fingerprint.0);
    }
    out.resize(PAGE_BYTES - CRC_BYTES, 0);
    let crc = crc32c::crc32c(&out);
    out.put_u32(crc);
    out
}

/// Decodes a block of the run that covers `span`. Returns at least one entry, in order of digest.
pub(super) fn decode(page: &[u8; PAGE_BYTES], span: Span) -> Result<Vec<KeyEntry>, DecodeError> {
    let (covered, crc) = page.split_at(PAGE_BYTES - CRC_BYTES);
    if Take(crc).u32()? != crc32c::crc32c(covered) {
        return Err(DecodeError("the checksum of a block is wrong"));
    }
    let mut take = Take(covered);
    let count = usize::from(take.u16()?);
    if !(1..=ENTRIES_MAX).contains(&count) {
        return Err(DecodeError("a block has an invalid number of entries"));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let digest = Digest::from_bytes(take.array()?);
        let mut position = [0; 8];
        position[8 - POSITION_BYTES..].copy_from_slice(take.bytes(POSITION_BYTES)?);
        let position = u64::from_be_bytes(position);
        entries.push(KeyEntry { digest, position, fingerprint: Fingerprint(take.array()?) });
    }
    if !entries.is_sorted_by(|one, next| one.digest < next.digest) {
        return Err(DecodeError("the entries of a block are out of order"));
    }
    // Entries of an erasure have earlier positions.
    if !entries.iter().all(|entry| (1..=span.through).contains(&entry.position)) {
        return Err(DecodeError("a block has a position that the run does not cover"));
    }
    Ok(entries)
}
