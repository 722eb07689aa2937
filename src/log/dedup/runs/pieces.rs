//! File that is written in pieces, at a pace. It is removed unless it gets its name. Knows nothing of its content.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use crate::storage::{PIECE_BYTES, Pace};

/// File that is removed when this is dropped.
struct TemporaryRun(PathBuf);

impl Drop for TemporaryRun {
    fn drop(&mut self) {
        // Once the file has its name, it is no longer at this path.
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a half-written dedup run cannot be removed; the next start removes it");
        }
    }
}

/// File that is being written.
pub(super) struct Pieces<'a> {
    temporary: TemporaryRun,
    file: File,
    /// Bytes that are not written yet: less than a piece.
    unwritten: Vec<u8>,
    pace: &'a mut dyn Pace,
}

impl<'a> Pieces<'a> {
    /// Creates the file. Replaces one that a crash left.
    pub fn create(path: PathBuf, pace: &'a mut dyn Pace) -> io::Result<Self> {
        let file = File::create(&path)?;
        Ok(Self { temporary: TemporaryRun(path), file, unwritten: Vec::with_capacity(PIECE_BYTES), pace })
    }

    pub fn path(&self) -> &Path {
        &self.temporary.0
    }

    pub fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.unwritten.len()));
            self.unwritten.extend_from_slice(now);
            if self.unwritten.len() == PIECE_BYTES {
                self.write()?;
            }
            bytes = later;
        }
        Ok(())
    }

    /// Writes the rest, and overwrites the beginning of the file with `first`. Syncs, and drops the pages that the
    /// system has cached: later reads come from the disk, as far as the file system does so.
    pub fn finish(&mut self, first: &[u8]) -> io::Result<()> {
        self.write()?;
        self.file.write_all_at(first, 0)?;
        self.file.sync_all()?;
        Ok(fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }

    /// Gives the file its name, durably.
    pub fn rename(&self, path: &Path) -> io::Result<()> {
        fs::rename(&self.temporary.0, path)?;
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all(&self.unwritten)?;
        self.unwritten.clear();
        if self.pace.is_slow() {
            self.file.sync_data()?;
        }
        self.pause()
    }

    /// Pauses. Fails if the work is no longer wanted.
    pub fn pause(&mut self) -> io::Result<()> {
        self.pace.pause();
        if self.pace.is_over() { Err(io::Error::other("the work is no longer needed")) } else { Ok(()) }
    }
}
