//! Journal: a sled database of bounded size that takes the log's newest frames. The only file of the log that uses
//! sled. Knows nothing of the meaning of a record, nor of segments.
//!
//! ```text
//! <data>/log/journal-<sequence, 20 digits>/     db, conf, snap.*, blobs/ (always empty): sled's own files
//! ```
//!
//! - One process writes a journal, and nothing reads it until that process has ended. Then its file is searched
//!   ([`recover`]), and sled never opens it again: sled's recovery writes, and silently shortens a damaged database.
//! - sled's own flush does not sync (it writes and waits with `sync_file_range`). So after each flush our own handle of
//!   its `db` file is fdatasynced, which makes a commit durable.
//! - sled panics on some damage and on some failures of the disk. Here a panic is an error like any other.

mod files;
pub(super) mod fuzzing;
mod recovery;
mod search;
#[cfg(test)]
mod tests;
mod value;

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::storage::StoreError;
use files::JournalFiles;

pub(super) use files::{highest, list, remove, set_aside, sweep};
pub(super) use recovery::{FoundFrames, RecoverError, Recovered, recover};
pub(super) use value::{FINGERPRINT_VERSION, JournalFrame, JournalKey, frame_bytes_max, values_bytes};

/// Size of sled's page cache. Written values are never read again: 32 MiB gained nothing over this.
const CACHE_BYTES: u64 = 64 * 1024;
/// Limit of the bytes that sled is given between two syncs. sled uses the room of a page again soon after it replaced
/// that page, whether or not the replacement is durable. It writes some four times the bytes that it is given. With up
/// to 512 KiB between two syncs no loss was seen, so the limit is half of that.
const UNSYNCED_BYTES_MAX: usize = 256 * 1024;

/// Journal that is open for writing: the seam at which tests put a double.
pub(super) trait JournalWriter: Send {
    fn sequence(&self) -> u64;

    /// Adds a frame after those before it. Only a sync makes it durable. After any error the journal cannot be written
    /// any more.
    fn put(&self, frame: &JournalFrame) -> Result<(), StoreError>;

    /// Makes all frames durable that were put before: they are on stable storage when this returns.
    fn sync(&self) -> Result<(), StoreError>;

    /// Returns the number of values that were put.
    fn values(&self) -> usize;

    /// Returns the bytes of the values that were put.
    fn bytes(&self) -> u64;
}

/// Journal that is open for writing.
pub(super) struct Journal {
    sequence: u64,
    /// Database. `None` once it is closed.
    db: Option<sled::Db>,
    /// Our own handle of sled's `db` file, for fdatasync alone.
    file: File,
    values: AtomicUsize,
    bytes: AtomicU64,
    unsynced: AtomicUsize,
}

impl Journal {
    /// Creates an empty journal. All its files, and the directory that names it, are synced when this returns. A crash
    /// or an error before that leaves a journal without frames, or none.
    pub fn create(log_directory: &Path, sequence: u64) -> Result<Self, StoreError> {
        let fail = |error: std::io::Error| StoreError::new("create a journal", error);
        let files = JournalFiles::of(log_directory, sequence);
        DirBuilder::new().mode(0o700).create(files.path()).map_err(fail)?;
        let db = guard("create a journal", || config(&files).create_new(true).open())?;
        let file = File::open(files.db()).map_err(fail)?;
        let journal = Self {
            sequence,
            db: Some(db),
            file,
            values: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            unsynced: AtomicUsize::new(0),
        };
        journal.sync()?;
        files.sync().map_err(fail)?;
        files.refuse_blobs().map_err(fail)?;
        Ok(journal)
    }

    fn db(&self) -> sled::Result<&sled::Db> {
        self.db.as_ref().ok_or_else(|| sled::Error::Unsupported("it is closed".into()))
    }
}

impl JournalWriter for Journal {
    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn put(&self, frame: &JournalFrame) -> Result<(), StoreError> {
        let values = value::encode(frame).map_err(|error| StoreError::new("write the journal", error.0))?;
        for (key, value) in values {
            if self.unsynced.load(Ordering::Relaxed) + value.len() > UNSYNCED_BYTES_MAX {
                self.sync()?;
            }
            let bytes = value.len();
            guard("write the journal", || self.db()?.insert(key, value).map(drop))?;
            self.values.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            self.unsynced.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        guard("flush the journal", || self.db()?.flush())?;
        self.file.sync_data().map_err(|error| StoreError::new("sync the journal", error))?;
        self.unsynced.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn values(&self) -> usize {
        self.values.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = close(self.db.take()) {
            tracing::warn!(journal = self.sequence, %error, "a journal was not closed cleanly");
        }
    }
}

fn config(files: &JournalFiles) -> sled::Config {
    sled::Config::new().path(files.path()).flush_every_ms(None).cache_capacity(CACHE_BYTES)
}

fn close(db: Option<sled::Db>) -> Result<(), StoreError> {
    guard("close a journal", || {
        drop(db);
        Ok(())
    })
}

/// Runs a call of sled, and turns a panic into an error. sled panics on some damage, and on some failures of the disk.
fn guard<T>(operation: &'static str, run: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Err(sled::Error::Io(error))) => Err(StoreError::new(operation, error)),
        Ok(result) => result.map_err(|error| StoreError::new(operation, error.to_string().as_str())),
        Err(_) => Err(StoreError::new(operation, "sled panicked: the files are damaged, or the disk failed")),
    }
}
