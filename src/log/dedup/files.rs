//! Dedup runs as files, `<data>/dedup/<through>.run`: each appears whole or not at all. Knows nothing of what is in them.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use super::RunStore;
use crate::blocklog::StoreError;
use crate::event::Position;
use crate::storage::{sweep, write_whole};

pub(in crate::log) struct RunFiles(PathBuf);

impl RunFiles {
    /// Opens or makes the directory; what a crash left half-written goes.
    pub fn open(directory: PathBuf) -> Result<Self, StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        let swept = made.and_then(|()| sweep(&directory));
        swept.map(|()| Self(directory)).map_err(|error| StoreError::new("open the dedup runs", error))
    }

    fn path(&self, through: Position) -> PathBuf {
        self.0.join(format!("{through:020}.run"))
    }
}

impl RunStore for RunFiles {
    fn list(&self) -> io::Result<Vec<Position>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "run") {
                found.extend(path.file_stem().and_then(|stem| stem.to_str()?.parse::<Position>().ok()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn read(&self, through: Position) -> io::Result<Vec<u8>> {
        fs::read(self.path(through))
    }

    fn write(&self, through: Position, bytes: &[u8]) -> io::Result<()> {
        write_whole(&self.path(through), |file| file.write_all(bytes))
    }

    fn remove(&self, through: Position) -> io::Result<()> {
        fs::remove_file(self.path(through))
    }
}
