//! `<data>/EPOCHS`: the epochs of the log, oldest first, and the position where each begins. Knows no other file.
//!
//! ```text
//! cleat epochs
//! format 1
//! epoch <32 hex> from <first position> chain <64 hex, before that position>     a line for each
//! crc32c <8 hex>
//! ```

use std::path::Path;

use super::file::{FileError, Undecodable, failed, read_file};
use super::text;
use crate::event::{Hash, Position};
use crate::storage::write_private;

const FORMAT: u32 = 1;
const TITLE: &str = "cleat epochs";
const LIMIT: usize = 1 << 20;

/// One epoch of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    pub id: u128,
    /// First position of the epoch, at least 1.
    pub from: Position,
    /// Chain value before that position.
    pub before: Hash,
}

/// All epochs: at least one, in ascending order of their first position, each with an id of its own. Two begin at the
/// same position if nothing was appended in the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs(Vec<Epoch>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EpochsError {
    #[error("there is no epoch")]
    None,
    #[error("an epoch begins before the one that precedes it")]
    Order,
    #[error("two epochs have the same id")]
    Repeated,
}

impl Epochs {
    pub fn new(epochs: Vec<Epoch>) -> Result<Self, EpochsError> {
        if epochs.is_empty() {
            return Err(EpochsError::None);
        }
        if epochs[0].from == 0 || !epochs.is_sorted_by_key(|epoch| epoch.from) {
            return Err(EpochsError::Order);
        }
        let mut ids: Vec<u128> = epochs.iter().map(|epoch| epoch.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() == epochs.len() { Ok(Self(epochs)) } else { Err(EpochsError::Repeated) }
    }

    pub fn all(&self) -> &[Epoch] {
        &self.0
    }

    /// Returns the newest epoch, to which the next records belong.
    pub fn last(&self) -> &Epoch {
        &self.0[self.0.len() - 1]
    }

    /// Returns the epoch that holds a position. `None` if the position is before the first epoch.
    pub fn of(&self, position: Position) -> Option<&Epoch> {
        self.0.iter().rev().find(|epoch| epoch.from <= position)
    }

    pub fn encode(&self) -> Vec<u8> {
        let line = |Epoch { id, from, before }: &Epoch| {
            format!("epoch {id:032x} from {from} chain {}\n", text::to_hex(before))
        };
        let lines: Vec<String> = self.0.iter().map(line).collect();
        text::seal(TITLE, FORMAT, &lines.concat())
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let (_, lines) = text::open(bytes, TITLE, FORMAT..=FORMAT)?;
        let epochs = lines.into_iter().map(decode_line).collect::<Result<_, _>>()?;
        Self::new(epochs).map_err(|_| Undecodable::Damaged("its epochs are not in order"))
    }
}

fn decode_line(line: &str) -> Result<Epoch, Undecodable> {
    let damaged = Undecodable::Damaged("a line does not describe an epoch");
    let words: Vec<&str> = line.split(' ').collect();
    let ["epoch", id, "from", from, "chain", before] = words[..] else { return Err(damaged) };
    let from: Position = from.parse().ok().filter(|parsed: &Position| parsed.to_string() == from).ok_or(damaged)?;
    Ok(Epoch { id: u128::from_be_bytes(text::hex(id)?), from, before: text::hex(before)? })
}

pub fn read(path: &Path) -> Result<Epochs, FileError> {
    let bytes = read_file(path, LIMIT)?.ok_or_else(|| FileError::Missing { path: path.to_owned() })?;
    Epochs::decode(&bytes).map_err(|error| error.at(path))
}

/// Replaces the file. Durable when it returns.
pub fn write(path: &Path, epochs: &Epochs) -> Result<(), FileError> {
    write_private(path, &epochs.encode()).map_err(failed("write", path))
}
