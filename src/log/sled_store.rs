//! The store on sled 0.34.7: the only file that names sled. Knows nothing of what the values mean.
//!
//! sled's own flush does not sync (it writes and waits with `sync_file_range`), so after each flush our own handle of its
//! `db` file is fdatasynced; that is what makes a commit durable. Other traps it goes around: a left-over
//! `snap.*.generating` makes sled refuse to open; blob files are never synced, so none may exist; damage can be a panic.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::block::{Entry, Key, is_whole};
use super::directory::{DataDirectory, patiently};
use super::fences::{Fences, is_fence};
use super::preflight;
use super::store::{Batch, Mark, Store, StoreError};

/// sled's page cache. Reads are mostly scans of what was just written; a large cache gained nothing.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

pub(super) struct SledStore {
    db: sled::Db,
    /// sled's `db` file, opened by us, for fdatasync alone.
    file: File,
    witness: File,
    fences: Mutex<Fences>,
    /// Let go of last.
    _directory: DataDirectory,
}

impl SledStore {
    /// Opens or makes `log/` and `head` in it. Everything that is there is synced when this returns.
    pub fn open(directory: DataDirectory) -> Result<Self, StoreError> {
        let fail = |what| move |error: io::Error| StoreError::new(what, error);
        let log = directory.log();
        directory.remove_half_written_snapshots().map_err(fail("remove a half-written snapshot"))?;
        refuse_blobs(&log)?;
        directory.forget_cached().map_err(fail("read the log's files from the disk"))?;
        let db = open_sled(&directory)?;
        let file = File::open(log.join("db")).map_err(fail("open the log's file"))?;
        let witness = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(directory.head())
            .map_err(fail("open the head witness"))?;
        directory.sync().map_err(fail("sync the log's files"))?;
        let greatest = guard("read the log", || db.last())?.map(|(key, _)| parse(&key)).transpose()?;
        Ok(Self { db, file, witness, fences: Mutex::new(Fences::resume(greatest)), _directory: directory })
    }
}

impl Store for SledStore {
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        for fence in self.fences.lock().unwrap_or_else(PoisonError::into_inner).before(&batch.puts) {
            guard("write the log", || self.db.insert(fence.to_bytes(), &[]))?;
        }
        // New whole blocks go in one by one: after a crash sled keeps a prefix of what it was given, and a prefix of blocks
        // is a log. A sled batch would be a third more work: a second write each, and a random order that undoes the fences.
        if batch.removes.is_empty() && batch.puts.iter().all(|(key, value)| is_whole(*key, value)) {
            let insert = |(key, value): &Entry| self.db.insert(key.to_bytes(), &value[..]).map(drop);
            return guard("write the log", || batch.puts.iter().try_for_each(insert));
        }
        let mut sled_batch = sled::Batch::default();
        batch.removes.iter().for_each(|key| sled_batch.remove(&key.to_bytes()));
        batch.puts.iter().for_each(|(key, value)| sled_batch.insert(&key.to_bytes(), &value[..]));
        guard("write the log", || self.db.apply_batch(sled_batch))
    }

    fn sync(&self) -> Result<(), StoreError> {
        guard("flush the log", || self.db.flush())?;
        self.file.sync_data().map_err(|error| StoreError::new("sync the log", error))
    }

    fn get(&self, key: Key) -> Result<Option<Vec<u8>>, StoreError> {
        let found = guard("read the log", || self.db.get(key.to_bytes()))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn floor(&self, key: Key) -> Result<Option<Entry>, StoreError> {
        let mut before = self.db.range(..=key.to_bytes()).rev();
        while let Some((key, value)) = guard("read the log", || before.next().transpose())? {
            let key = parse(&key)?;
            if !is_fence(key) {
                return Ok(Some((key, value.to_vec())));
            }
        }
        Ok(None)
    }

    fn mark(&self, mark: &Mark) -> Result<(), StoreError> {
        self.witness.write_all_at(mark, 0).map_err(|error| StoreError::new("write the head witness", error))
    }

    fn sync_mark(&self) -> Result<(), StoreError> {
        self.witness.sync_data().map_err(|error| StoreError::new("sync the head witness", error))
    }

    fn marked(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let read = || {
            let mut bytes = vec![0; usize::try_from(self.witness.metadata()?.len()).unwrap_or(0).min(4096)];
            self.witness.read_exact_at(&mut bytes, 0)?;
            io::Result::Ok(bytes)
        };
        let bytes = read().map_err(|error| StoreError::new("read the head witness", error))?;
        // Zeros are what a power cut leaves of a file that was made and not yet written.
        Ok(Some(bytes).filter(|bytes| bytes.iter().any(|byte| *byte != 0)))
    }
}

fn parse(key: &[u8]) -> Result<Key, StoreError> {
    Key::from_bytes(key).map_err(|garbled| StoreError::new("read a key of the log", garbled))
}

/// sled panics on some damage; told as what it is, it is an error like any other.
fn guard<T>(operation: &'static str, run: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| StoreError::new(operation, error)),
        Err(_) => Err(StoreError::new(operation, "sled panicked: the files are damaged, or the disk failed")),
    }
}

fn open_sled(directory: &DataDirectory) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(directory.log()).flush_every_ms(None).cache_capacity(CACHE_BYTES);
    let look = || preflight::check(&directory.log(), &directory.head());
    look()?;
    let open = || {
        let opened = guard("open the log", || match config.open() {
            // The data may be good and only sled's recovery snapshot bad: without it sled replays everything.
            Err(sled::Error::Corruption { .. }) if directory.set_snapshots_aside() => Ok(None),
            result => result.map(Some),
        })?;
        opened.map_or_else(|| look().and_then(|()| guard("open the log", || config.open())), Ok)
    };
    // Threads of an earlier handle in this very process may hold sled's own lock a little longer than it lived.
    patiently(open, |error| error.reason.contains("could not acquire lock"))
}

fn refuse_blobs(log: &Path) -> Result<(), StoreError> {
    let blobs = fs::read_dir(log.join("blobs")).map_or(0, Iterator::count);
    if blobs == 0 {
        return Ok(());
    }
    Err(StoreError::new(
        "open the log",
        format!("{} holds {blobs} files, which are never durable", log.join("blobs").display()),
    ))
}
