//! Tests of the small files of a data directory, and the helpers that they share.

mod formats;
mod init;
mod keeper;
mod slots;

use std::path::Path;

use super::witness::Witness;
use crate::event::{Identity, Point, Position, Timestamp};

const IDENTITY: Identity = Identity { log_id: 0x0123_4567_89ab_cdef, epoch: u128::MAX - 5 };

/// Returns a witness whose every field follows from its position.
fn witness(position: Position) -> Witness {
    let chain = [u8::try_from(position % 251).unwrap(); 32];
    let recorded_at = Timestamp::from_micros(i64::try_from(position).unwrap() - 3);
    Witness { identity: IDENTITY, journal: 7 + position / 10, head: Point { position, chain, recorded_at } }
}

/// Returns each copy of `bytes` with one flipped bit, and the index of the changed byte.
fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        (bit / 8, flipped)
    })
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
