//! `<data>/CLEAT`: marks a directory as a data directory of cleat. Init writes it last; a start replaces it to repair
//! it or to raise its format. Knows no other file.
//!
//! ```text
//! cleat data directory
//! format 3
//! log <32 hex>
//! made by cleat <version>
//! crc32c <8 hex>
//! ```

use std::path::Path;

use super::file::{FileError, Undecodable, failed, read_file};
use super::text;
use crate::storage::write_private;

/// Format of the whole directory. Format 1 had no such file. Format 2 had journals without fingerprints, and flat dedup
/// runs. A start raises the format of an older directory before it writes anything else.
pub const FORMAT: u32 = 3;
const OLDEST_FORMAT: u32 = 2;
const TITLE: &str = "cleat data directory";
const LIMIT: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleatFile {
    pub format: u32,
    pub log_id: u128,
    /// Version that made the directory. One line without control characters.
    pub made_by: String,
}

impl CleatFile {
    pub fn encode(&self) -> Vec<u8> {
        let made_by: String = self.made_by.chars().filter(|character| !character.is_control()).collect();
        text::seal(TITLE, self.format, &format!("log {:032x}\nmade by cleat {made_by}\n", self.log_id))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let (format, lines) = text::open(bytes, TITLE, OLDEST_FORMAT..=FORMAT)?;
        let damaged = Undecodable::Damaged("its lines are not valid");
        let [log, made_by] = lines[..] else { return Err(damaged) };
        let log_id = text::hex(log.strip_prefix("log ").ok_or(damaged.clone())?)?;
        let made_by = text::made_by(&[made_by]).ok_or(damaged)?;
        Ok(Self { format, log_id: u128::from_be_bytes(log_id), made_by })
    }
}

pub fn read(path: &Path) -> Result<CleatFile, FileError> {
    let bytes = read_file(path, LIMIT)?.ok_or_else(|| FileError::Missing { path: path.to_owned() })?;
    CleatFile::decode(&bytes).map_err(|error| error.at(path))
}

/// Replaces the file. Durable when it returns.
pub fn write(path: &Path, file: &CleatFile) -> Result<(), FileError> {
    write_private(path, &file.encode()).map_err(failed("write", path))
}
