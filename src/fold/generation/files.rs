//! Owns the names of a generation's files, and their creation and removal. Knows nothing of their content.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::event::Position;
use crate::storage::{free_space, sweep, write_whole};

const CHECKPOINTS_KEPT: usize = 2;
const CHECKPOINT: &str = "checkpoint";

/// Files of one generation.
#[derive(Clone, PartialEq, Eq)]
pub struct Files {
    home: PathBuf,
    number: u64,
}

impl Files {
    /// Creates the directory of a new generation, numbered after all existing ones.
    pub fn create(home: &Path) -> io::Result<Self> {
        let number = generations(home)?.last().map_or(0, |last| last.number) + 1;
        let files = Self { home: home.to_owned(), number };
        DirBuilder::new().recursive(true).mode(0o700).create(home)?;
        DirBuilder::new().mode(0o700).create(files.directory())?;
        sync(home)?;
        home.parent().map_or(Ok(()), sync)?;
        Ok(files)
    }

    fn directory(&self) -> PathBuf {
        self.home.join(self.number.to_string())
    }

    pub fn changes(&self) -> PathBuf {
        self.directory().join("changes")
    }

    pub fn checkpoint(&self, position: Position) -> PathBuf {
        self.directory().join(format!("{position:020}.{CHECKPOINT}"))
    }

    /// Returns the name of a checkpoint as an operator finds it in the data directory.
    pub fn name(&self, position: Position) -> String {
        format!("views/{}/{position:020}.{CHECKPOINT}", self.number)
    }

    /// Returns the positions of the checkpoints, in order.
    pub fn checkpoints(&self) -> io::Result<Vec<Position>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.directory())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == CHECKPOINT) {
                found.extend(path.file_stem().and_then(|stem| stem.to_str()?.parse::<Position>().ok()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Returns the length of the checkpoint at a position.
    pub fn checkpoint_bytes(&self, position: Position) -> io::Result<u64> {
        Ok(fs::metadata(self.checkpoint(position))?.len())
    }

    /// Returns the number of free bytes on the disk of the generation.
    pub fn free_space(&self) -> io::Result<u64> {
        free_space(&self.home)
    }

    /// Writes a checkpoint, which appears whole and durable, or not at all. Removes older ones; those that the system
    /// does not remove stay.
    pub fn save(&self, position: Position, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        write_whole(&self.checkpoint(position), write)?;
        let all = self.checkpoints()?;
        let old = all.len().saturating_sub(CHECKPOINTS_KEPT);
        for position in &all[..old] {
            if let Err(error) = fs::remove_file(self.checkpoint(*position)) {
                tracing::warn!(position, %error, "an older checkpoint cannot be removed; the next one tries again");
            }
        }
        Ok(())
    }

    /// Removes as many checkpoints as the system allows. The error is that of the last one it does not remove.
    pub fn remove_checkpoints(&self) -> io::Result<()> {
        let mut removed = Ok(());
        for position in self.checkpoints()? {
            removed = fs::remove_file(self.checkpoint(position)).and(removed);
        }
        removed
    }

    /// Removes all files of the generation. Open files stay readable. Files that the system does not remove stay for a
    /// later start.
    pub fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(self.directory()) {
            tracing::warn!(
                number = self.number,
                %error,
                "a generation of the views cannot be removed; it stays for a later start"
            );
        }
    }

    /// Removes all generations before this one.
    pub fn remove_older(&self) -> io::Result<()> {
        generations(&self.home)?.iter().filter(|files| files.number < self.number).for_each(Self::remove);
        Ok(())
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Returns all generations, in order.
pub fn generations(home: &Path) -> io::Result<Vec<Files>> {
    let mut numbers = Vec::new();
    for entry in entries(home)? {
        numbers.extend(entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| Files { home: home.to_owned(), number }).collect())
}

/// Removes files that a crash left half written. Only for a start.
pub fn sweep_all(home: &Path) -> io::Result<()> {
    generations(home)?.into_iter().try_for_each(|files| sweep(&files.directory()))
}

/// Removes generations that are useless to a start: those without a checkpoint, and all that are newer than the one
/// that goes on, if one does. Older ones stay until that one has a checkpoint at the head.
pub fn remove_useless(home: &Path, goes_on: Option<&Files>) -> io::Result<()> {
    for files in generations(home)?.into_iter().filter(|files| Some(files) != goes_on) {
        let is_newer = goes_on.is_some_and(|goes_on| files.number > goes_on.number);
        if is_newer || files.checkpoints()?.is_empty() {
            files.remove();
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect(),
    }
}
