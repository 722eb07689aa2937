//! The data directory: made, locked and synced, so that what is found in it is what the disk holds. Knows the names of sled's
//! files, nothing of what is in them.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use super::store::StoreError;

/// After a kill the lock of the dead process may last a little.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(20);

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
                TryLockError::WouldBlock => io::Error::other("another process uses it"),
                TryLockError::Error(error) => error,
            },
        )?;
        Ok(Self { path, above, _lock: lock })
    }

    /// Where the dedup runs are, if there are any.
    pub fn dedup(&self) -> PathBuf {
        self.path.join("dedup")
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub fn head(&self) -> PathBuf {
        self.path.join("head")
    }

    /// sled writes its recovery snapshot under a name that it then refuses to open over.
    pub fn remove_half_written_snapshots(&self) -> io::Result<()> {
        for path in self.snapshots()? {
            if path.extension().is_some_and(|extension| extension == "generating") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Lets the page cache go: after a failed write it may hold, as clean, what the disk never took, and what is read from
    /// there would be taken for durable.
    pub fn forget_cached(&self) -> io::Result<()> {
        for path in self.files()? {
            let file = File::open(path)?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }

    /// Everything that is there, and what names it: sled syncs nothing at creation.
    pub fn sync(&self) -> io::Result<()> {
        let above = self.path.ancestors().take_while(|path| path.starts_with(&self.above)).map(Path::to_owned);
        let directories = [self.log().join("blobs"), self.log(), self.dedup()].into_iter().chain(above);
        let paths = self.files()?.into_iter().chain(directories);
        paths.filter(|path| path.exists()).try_for_each(|path| File::open(path)?.sync_all())
    }

    /// Whether there was a snapshot to set aside.
    pub fn set_snapshots_aside(&self) -> bool {
        let aside = |path: PathBuf| {
            let name = path.file_name()?.to_string_lossy().replacen("snap.", "aside.snap.", 1);
            fs::rename(&path, path.with_file_name(name)).ok()
        };
        self.snapshots().is_ok_and(|found| !found.is_empty() && found.into_iter().all(|path| aside(path).is_some()))
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = vec![self.log().join("db"), self.log().join("conf"), self.head()];
        files.extend(self.snapshots()?);
        files.retain(|path| path.exists());
        Ok(files)
    }

    fn snapshots(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.log())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")) {
                found.push(path);
            }
        }
        Ok(found)
    }
}

/// Tries again for a while as long as the error only says that another holds the lock.
pub(super) fn patiently<T, E>(mut attempt: impl FnMut() -> Result<T, E>, locked: impl Fn(&E) -> bool) -> Result<T, E> {
    let mut waited = Duration::ZERO;
    loop {
        match attempt() {
            Err(error) if locked(&error) && waited < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_RETRY);
                waited += LOCK_RETRY;
            }
            result => return result,
        }
    }
}
