//! `data.anchor`: one slot of the witness on another volume, so that a whole data directory that was put back from an older
//! copy is noticed. Optional, and never a reason to stop; may be some seconds behind the witness, never ahead of the log.

use std::path::{Path, PathBuf};

use super::witness::{Slot, Witness};
use super::{FileError, Undecodable, read_file, sector};
use crate::storage::write_private;

/// What the file holds.
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
    Ok(match Slot::decode(&bytes) {
        Ok(slot) => AnchorRead::Whole(slot.witness),
        Err(Undecodable::Damaged(reason)) => AnchorRead::Damaged(reason),
        Err(Undecodable::Newer { format, .. }) => AnchorRead::Newer { format },
    })
}

/// The file, as the keeper renews it.
pub struct AnchorFile {
    path: PathBuf,
    /// Whether the last renewal failed: a warning is given once.
    failing: bool,
}

impl AnchorFile {
    /// Nothing is written yet.
    pub fn new(path: PathBuf) -> Self {
        // A bare name has no directory that could be synced.
        let path = std::path::absolute(&path).unwrap_or(path);
        Self { path, failing: false }
    }

    /// Replaces the file. A failure is a warning, once until it works again. Says whether it worked.
    pub fn renew(&mut self, slot: &Slot) -> bool {
        let renewed = write_private(&self.path, &slot.encode());
        let path = self.path.display();
        match &renewed {
            Ok(()) if self.failing => tracing::info!(%path, "the anchor is renewed again"),
            Err(error) if !self.failing => tracing::warn!(
                %path,
                %error,
                "the anchor cannot be renewed: until it is, an older copy of the data directory may go unnoticed"
            ),
            Ok(()) | Err(_) => {}
        }
        self.failing = renewed.is_err();
        !self.failing
    }
}
