//! Dedup runs as files, `<data>/dedup/<through>.run`: each appears whole or not at all. Knows nothing of what is in them.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use super::RunStore;
use crate::event::Position;
use crate::storage::{PIECE_BYTES, Pace, sweep, write_whole};

pub(in crate::log) struct RunFiles(PathBuf);

impl RunFiles {
    /// The runs of a directory, which may be missing: nothing is changed before [`RunStore::prepare`].
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    fn path(&self, through: Position) -> PathBuf {
        self.0.join(format!("{through:020}.run"))
    }
}

impl RunStore for RunFiles {
    fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        sweep(&self.0)
    }

    fn list(&self) -> io::Result<Vec<Position>> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
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

    fn write(&self, through: Position, bytes: &[u8], pace: &mut dyn Pace) -> io::Result<()> {
        write_whole(&self.path(through), |file| {
            for piece in bytes.chunks(PIECE_BYTES) {
                file.write_all(piece)?;
                if pace.is_slow() {
                    file.sync_data()?;
                }
                pace.pause();
            }
            Ok(())
        })
    }

    fn remove(&self, through: Position) -> io::Result<()> {
        fs::remove_file(self.path(through))
    }
}
