//! Finds the block that holds a position. It seeks afresh each time and never trusts an iterator: merging blocks under an
//! open sled iterator makes it skip.

use super::block::{Block, Header, Key};
use super::store::{Store, StoreError};
use crate::event::Position;

#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("what is stored from position {from} on is damaged: {reason}")]
    Damaged { from: Position, reason: &'static str },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The block that holds `position`, which must be stored.
pub fn read(store: &dyn Store, position: Position) -> Result<Block, ReadError> {
    let damaged = |reason| ReadError::Damaged { from: position, reason };
    // Blocks may be merged between any two reads; a miss is then gone at the second look.
    let value = match covering(store, position)? {
        Some(value) => value,
        None => covering(store, position)?.ok_or_else(|| damaged("no block holds it"))?,
    };
    Block::decode(&value).map_err(|garbled| damaged(garbled.0))
}

/// The whole block that holds `position`, all chunks joined; None if the nearest one does not reach it.
fn covering(store: &dyn Store, position: Position) -> Result<Option<Vec<u8>>, ReadError> {
    let damaged = |reason| ReadError::Damaged { from: position, reason };
    let Some((key, mut value)) = store.floor(Key::block(position))? else { return Ok(None) };
    if key.chunk != 0 || key.first == 0 {
        return Ok(None);
    }
    let header = Header::read(&value).map_err(|garbled| damaged(garbled.0))?;
    if header.first != key.first {
        return Err(damaged("a block is not where it belongs"));
    }
    if header.last() < position {
        return Ok(None);
    }
    for chunk in 1..header.chunks() {
        let chunk = u16::try_from(chunk).map_err(|_| damaged("a block has too many chunks"))?;
        let part = store.get(Key { first: key.first, chunk })?.ok_or_else(|| damaged("a chunk is missing"))?;
        value.extend_from_slice(&part);
    }
    Ok(Some(value))
}

/// The last position of the last block, by its header alone. 0: there is none.
pub fn last_position(store: &dyn Store) -> Result<Position, StoreError> {
    let Some((key, value)) = store.floor(Key::LAST)? else { return Ok(0) };
    let value = match key {
        Key { first: 0, .. } => return Ok(0),
        Key { chunk: 0, .. } => Some(value),
        Key { first, .. } => store.get(Key::block(first))?,
    };
    // A header that cannot be read still says by its key that there was something; who reads it will find out what.
    let header = value.and_then(|value| Header::read(&value).ok());
    Ok(header.map_or(key.first, |header| header.last()))
}
