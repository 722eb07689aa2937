//! The store on sled 0.34.7: the only file that names sled. Knows nothing of what the values mean.
//!
//! sled's own flush does not sync (it writes and waits with `sync_file_range`), so after each flush our own handle of its
//! `db` file is fdatasynced; that is what makes a commit durable. Other traps it goes around: a left-over
//! `snap.*.generating` makes sled refuse to open; blob files are never synced, so none may exist; damage can be a panic.

mod files;

use std::fs::File;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::block::{Entry, Key, is_whole};
use super::fences::{Fences, is_fence, rewriting};
use super::resettle::{LEAVES_A_SYNC, Resettling};
use super::store::{Batch, Store, StoreError};
pub use files::SledFiles;

/// sled's page cache. Reads are mostly scans of what was just written; a large cache gained nothing.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// After a kill the lock of the dead process may last a little.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Of some four leaves. sled may move a page of 42 KiB with each leaf and each index that it splits.
const FENCES_A_SYNC: usize = 36;

pub struct SledStore {
    /// As in "cannot write the log".
    name: &'static str,
    db: sled::Db,
    /// sled's `db` file, opened by us, for fdatasync alone.
    file: File,
    layout: Mutex<Layout>,
}

struct Layout {
    fences: Fences,
    resettling: Resettling,
}

impl SledStore {
    /// Opens or makes it. Everything that is there is synced when this returns.
    pub fn open(name: &'static str, files: &SledFiles) -> Result<Self, StoreError> {
        let fail = |error: std::io::Error| StoreError::new(format!("open the {name}'s files"), error);
        files.remove_half_written_snapshots().map_err(fail)?;
        files.refuse_blobs().map_err(fail)?;
        files.forget_cached().map_err(fail)?;
        let db = open_sled(name, files)?;
        let file = File::open(files.db()).map_err(fail)?;
        files.sync().map_err(fail)?;
        let greatest = guard(name, Access::Read, || db.last())?.map(|(key, _)| parse(name, &key)).transpose()?;
        let layout = Layout { fences: Fences::resume(greatest), resettling: Resettling::default() };
        Ok(Self { name, db, file, layout: Mutex::new(layout) })
    }

    fn insert(&self, key: Key, value: &[u8]) -> Result<(), StoreError> {
        guard(self.name, Access::Write, || self.db.insert(key.to_bytes(), value).map(drop))
    }

    /// Never more than 512 KiB go into sled between two syncs, with what it moves on such an occasion.
    fn put_fences(&self, fences: &mut Fences, puts: &[Entry]) -> Result<(), StoreError> {
        let moves_pages = fences.moves_pages();
        for (n, part) in fences.before(puts).chunks(FENCES_A_SYNC).enumerate() {
            if n > 0 && moves_pages {
                self.sync()?;
            }
            part.iter().try_for_each(|fence| self.insert(*fence, &[]))?;
        }
        Ok(())
    }

    fn put(&self, batch: &Batch) -> Result<(), StoreError> {
        // New whole blocks go in one by one: after a crash sled keeps a prefix of what it was given, and a prefix of blocks
        // is a log. A sled batch would be a third more work: a second write each, and a random order that undoes the fences.
        if batch.puts.iter().all(|(key, value)| is_whole(*key, value)) {
            return batch.puts.iter().try_for_each(|(key, value)| self.insert(*key, value));
        }
        let mut sled_batch = sled::Batch::default();
        batch.puts.iter().for_each(|(key, value)| sled_batch.insert(&key.to_bytes(), &value[..]));
        guard(self.name, Access::Write, || self.db.apply_batch(sled_batch))
    }
}

impl Store for SledStore {
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut layout = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        let Layout { fences, resettling } = &mut *layout;
        self.put_fences(fences, &batch.puts)?;
        self.put(batch)?;
        fences.grown.drain(..).for_each(|leaf| resettling.left(leaf));
        for (n, leaves) in resettling.next(batch.bytes()).chunks(LEAVES_A_SYNC).enumerate() {
            if n > 0 {
                self.sync()?;
            }
            let changes = leaves.iter().copied().flat_map(rewriting);
            changes.into_iter().try_for_each(|(key, value)| self.insert(key, &value))?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        guard(self.name, Access::Flush, || self.db.flush())?;
        self.file.sync_data().map_err(|error| StoreError::new(format!("sync the {}", self.name), error))
    }

    fn get(&self, key: Key) -> Result<Option<Vec<u8>>, StoreError> {
        let found = guard(self.name, Access::Read, || self.db.get(key.to_bytes()))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn floor(&self, key: Key) -> Result<Option<Entry>, StoreError> {
        let mut before = self.db.range(..=key.to_bytes()).rev();
        while let Some((key, value)) = guard(self.name, Access::Read, || before.next().transpose())? {
            let key = parse(self.name, &key)?;
            if !is_fence(key) {
                return Ok(Some((key, value.to_vec())));
            }
        }
        Ok(None)
    }
}

fn parse(name: &str, key: &[u8]) -> Result<Key, StoreError> {
    Key::from_bytes(key).map_err(|garbled| StoreError::damage(format!("read a key of the {name}"), garbled))
}

/// What sled is asked for. Only what reads can find damage: a write that fails says nothing of what was written before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    Read,
    Write,
    Flush,
}

impl Access {
    fn verb(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
        }
    }

    fn reads(self) -> bool {
        matches!(self, Self::Open | Self::Read)
    }
}

/// sled panics on some damage; here that is an error like any other.
fn guard<T>(name: &str, access: Access, run: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let operation = || format!("{} the {name}", access.verb());
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if access.reads() && is_damage(&error) => Err(StoreError::damage(operation(), error)),
        Ok(Err(error)) => Err(StoreError::new(operation(), error)),
        Err(_) => {
            let reason = "sled panicked: the files are damaged, or the disk failed";
            let error = if access.reads() { StoreError::damage } else { StoreError::new };
            Err(error(operation(), reason))
        }
    }
}

fn is_damage(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        _ => true,
    }
}

fn open_sled(name: &str, files: &SledFiles) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(files.path()).flush_every_ms(None).cache_capacity(CACHE_BYTES);
    let open = || {
        let opened = guard(name, Access::Open, || match config.open() {
            // The data may be good and only sled's recovery snapshot bad: without it sled replays everything.
            Err(sled::Error::Corruption { .. }) if files.set_snapshots_aside() => Ok(None),
            result => result.map(Some),
        })?;
        opened.map_or_else(|| guard(name, Access::Open, || config.open()), Ok)
    };
    // Threads of an earlier handle in this very process may hold sled's own lock a little longer than it lived.
    patiently(open, |error| error.reason.contains("could not acquire lock"))
}

/// Tries again for a while as long as the error only says that another holds the lock.
pub fn patiently<T, E>(mut attempt: impl FnMut() -> Result<T, E>, locked: impl Fn(&E) -> bool) -> Result<T, E> {
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
