//! The data directory: made, locked and synced, so that what is found in it is what the disk holds.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::witness::{Mark, MarkStore};
use crate::blocklog::{SledFiles, StoreError, patiently};

/// `<data>`, ours alone while this lives.
pub(super) struct DataDirectory {
    path: PathBuf,
    /// The nearest directory above that was there before.
    above: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Makes `<directory>/log`, for nobody else to read, and takes the lock.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::take(directory).map_err(|error| StoreError::new("open the data directory", error))
    }

    fn take(directory: &Path) -> io::Result<Self> {
        let path = std::path::absolute(directory)?;
        let above = path.ancestors().skip(1).find(|above| above.exists()).unwrap_or(&path).to_owned();
        DirBuilder::new().recursive(true).mode(0o700).create(path.join("log"))?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock"))?;
        patiently(|| lock.try_lock(), |error| matches!(error, TryLockError::WouldBlock)).map_err(
            |error| match error {
                TryLockError::WouldBlock => io::Error::other("another process uses it; is `cleat serve` running?"),
                TryLockError::Error(error) => error,
            },
        )?;
        Ok(Self { path, above, _lock: lock })
    }

    /// Where the dedup runs are, if there are any.
    pub fn dedup(&self) -> PathBuf {
        self.path.join("dedup")
    }

    pub fn log(&self) -> SledFiles {
        SledFiles::of(self.path.join("log"))
    }

    pub fn head(&self) -> PathBuf {
        self.path.join("head")
    }

    /// Opens or makes the head witness, as the disk has it, and syncs what names all that is here.
    pub fn witness(self) -> Result<WitnessFile, StoreError> {
        let open = || {
            let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(self.head())?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
            let above = self.path.ancestors().take_while(|path| path.starts_with(&self.above));
            let mut paths = [self.dedup()].into_iter().chain(above.map(Path::to_owned)).filter(|path| path.exists());
            paths.try_for_each(|path| File::open(path)?.sync_all())?;
            io::Result::Ok(file)
        };
        let file = open().map_err(|error| StoreError::new("open the head witness", error))?;
        Ok(WitnessFile { file, _directory: self })
    }
}

/// `<data>/head`. Keeps the data directory ours.
pub(super) struct WitnessFile {
    file: File,
    _directory: DataDirectory,
}

impl MarkStore for WitnessFile {
    fn mark(&self, mark: &Mark) -> Result<(), StoreError> {
        self.file.write_all_at(mark, 0).map_err(|error| StoreError::new("write the head witness", error))
    }

    fn sync_mark(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| StoreError::new("sync the head witness", error))
    }

    fn marked(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let read = || {
            let mut bytes = vec![0; usize::try_from(self.file.metadata()?.len()).unwrap_or(0).min(4096)];
            self.file.read_exact_at(&mut bytes, 0)?;
            io::Result::Ok(bytes)
        };
        let bytes = read().map_err(|error| StoreError::new("read the head witness", error))?;
        // Zeros are what a power cut leaves of a file that was made and not yet written.
        Ok(Some(bytes).filter(|bytes| bytes.iter().any(|byte| *byte != 0)))
    }
}
