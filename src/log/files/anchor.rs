//! `data.anchor`: one slot of the witness on another volume. It shows when a whole data directory was put back from an
//! older copy. Optional, and never a reason to stop. May be some seconds behind the witness, never ahead of the log.
//! Does not decide when it is renewed.

use std::path::{Path, PathBuf};

use super::file::{FileError, Undecodable, read_file};
use super::sector;
use super::witness::{Witness, WitnessSlot};
use crate::storage::write_private;

/// State and content of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorRead {
    Whole(Witness),
    Damaged(&'static str),
    Missing,
    Newer { format: u32 },
}

pub fn read(path: &Path) -> Result<AnchorRead, FileError> {
    let Some(bytes) = read_file(path, sector::BYTES)? else { return Ok(AnchorRead::Missing) };
    if bytes.len() > sector::BYTES {
        return Ok(AnchorRead::Damaged("it is longer than an anchor"));
    }
    Ok(match WitnessSlot::decode(&bytes) {
        Ok(slot) => AnchorRead::Whole(slot.witness),
        Err(Undecodable::Damaged(reason)) => AnchorRead::Damaged(reason),
        Err(Undecodable::Newer { format, .. }) => AnchorRead::Newer { format },
    })
}

/// Anchor file, as the keeper renews it.
pub struct AnchorFile {
    path: PathBuf,
    /// True if the last renewal failed: a warning is given once.
    is_failing: bool,
}

impl AnchorFile {
    /// Prepares the file. Writes nothing yet.
    pub fn new(path: PathBuf) -> Self {
        // A bare name has no directory that could be synced.
        let path = std::path::absolute(&path).unwrap_or(path);
        Self { path, is_failing: false }
    }

    /// Replaces the file. Warns about a failure once, until it works again. Returns whether it worked.
    pub fn renew(&mut self, slot: &WitnessSlot) -> bool {
        let renewed = write_private(&self.path, &slot.encode());
        let path = self.path.display();
        match &renewed {
            Ok(()) if self.is_failing => tracing::info!(%path, "the anchor is renewed again"),
            Err(error) if !self.is_failing => tracing::warn!(
                %path,
                %error,
                "the anchor cannot be renewed: until it is, an older copy of the data directory may go unnoticed"
            ),
            Ok(()) | Err(_) => {}
        }
        self.is_failing = renewed.is_err();
        !self.is_failing
    }
}
