//! Index of all known keys, in memory and in runs. The writer claims keys in it, and all callers look keys up in it.
//! Reads runs, and writes no file.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

use super::key::{Digest, KeyEntry};
use super::recent::{KeyTable, RecentKeys};
use super::runs::{DedupRun, DedupRunError, RunSet};
use crate::event::Point;

/// Number of full tables of keys in memory at which nothing more is appended: some 700 MB, after 12 million events
/// without a saved run.
pub(super) const FULL_TABLES_MAX: usize = 96;

/// Extent to which the keys of the log are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coverage {
    /// Keys of events that may still be sent again are missing.
    Partial,
    /// The keys of the last days are known. Webhooks are not sent again for longer than that.
    Newest,
    /// All keys that can still be read from the log are known.
    Whole,
}

/// Set of runs, and the coverage of these runs and memory. The two are taken together: with an older set and a later
/// coverage, a look-up would miss keys.
#[derive(Clone)]
pub struct RunView {
    /// Set of runs. While it is held, memory keeps every key that it does not have.
    pub runs: Arc<RunSet>,
    pub coverage: Coverage,
}

/// Size of the dedup index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupSize {
    /// Keys in runs.
    pub run_keys: u64,
    /// Bytes of the runs on disk.
    pub run_file_bytes: u64,
    /// Bytes of the filters and block indexes of the runs.
    pub run_memory_bytes: u64,
    /// Bytes of the keys that no run holds yet.
    pub recent_memory_bytes: u64,
}

pub struct KeyIndex {
    recent: RwLock<RecentKeys>,
    /// Number of full tables from which runs can be made.
    full_tables: AtomicUsize,
    view: RwLock<RunView>,
    /// Replaced sets of runs that a caller may still hold.
    replaced: Mutex<Vec<Weak<RunSet>>>,
    /// Runs that were found damaged.
    damaged: Mutex<Vec<Arc<DedupRun>>>,
    /// Waker of the thread that keeps runs. It ends with that thread.
    waker: OnceLock<Weak<SyncSender<()>>>,
}

impl KeyIndex {
    pub fn new(recent: RecentKeys, runs: RunSet, coverage: Coverage) -> Self {
        Self {
            full_tables: AtomicUsize::new(recent.complete().count()),
            recent: RwLock::new(recent),
            view: RwLock::new(RunView { runs: Arc::new(runs), coverage }),
            replaced: Mutex::default(),
            damaged: Mutex::default(),
            waker: OnceLock::new(),
        }
    }

    /// Returns an index that knows no key.
    pub fn empty() -> Self {
        Self::new(RecentKeys::after(0), RunSet::default(), Coverage::Whole)
    }

    pub fn view(&self) -> RunView {
        self.view.read().clone()
    }

    pub(super) fn runs(&self) -> Arc<RunSet> {
        self.view().runs
    }

    /// Locks the keys in memory for writing.
    pub fn recent_mut(&self) -> RwLockWriteGuard<'_, RecentKeys> {
        self.recent.write()
    }

    /// Calls [`RecentKeys::close_if_full`], and updates the number of full tables.
    pub fn close_if_full(&self, head: Point, positions: u64) -> bool {
        let mut recent = self.recent_mut();
        let is_full = recent.close_if_full(head, positions);
        self.count_full(&recent);
        is_full
    }

    /// Adds the keys of earlier positions.
    pub(super) fn add(&self, table: KeyTable) {
        let mut recent = self.recent_mut();
        recent.add(table);
        self.count_full(&recent);
    }

    fn count_full(&self, recent: &RecentKeys) {
        self.full_tables.store(recent.complete().count(), Ordering::Relaxed);
    }

    /// Returns whether memory takes no more keys because runs cannot be saved.
    pub fn is_full(&self) -> bool {
        self.full_tables.load(Ordering::Relaxed) >= FULL_TABLES_MAX
    }

    /// Returns the first entry with a key, from memory or the runs. May read a run, which blocks.
    pub fn find(&self, digest: Digest) -> Result<Option<KeyEntry>, DedupRunError> {
        // While these runs are held, memory keeps the keys that they do not have.
        let runs = self.runs();
        let recent = self.recent.read().find(digest);
        let found = recent.into_iter().chain(self.find_in(&runs, digest)?);
        Ok(found.min_by_key(|entry| entry.position))
    }

    /// Looks a key up in `runs`. Notes a damaged run, so that it is rebuilt.
    pub fn find_in(&self, runs: &RunSet, digest: Digest) -> Result<Option<KeyEntry>, DedupRunError> {
        runs.find(digest).inspect_err(|error| self.note_damage(runs.runs(), error))
    }

    /// Notes the run that `error` names, if it must be rebuilt.
    pub(super) fn note_damage(&self, runs: &[Arc<DedupRun>], error: &DedupRunError) {
        let Some(run) = runs.iter().find(|run| run.path() == error.path()) else { return };
        if run.count_error(error) {
            let mut damaged = self.damaged.lock();
            if !damaged.iter().any(|noted| Arc::ptr_eq(noted, run)) {
                damaged.push(run.clone());
            }
            drop(damaged);
            self.wake();
        }
    }

    /// Sets the waker, which ends with the thread that keeps runs.
    pub(super) fn set_waker(&self, waker: Weak<SyncSender<()>>) {
        self.waker.get_or_init(|| waker);
    }

    /// Wakes the thread that keeps runs, unless a wake-up is already pending.
    pub fn wake(&self) {
        let waker = self.waker.get().and_then(Weak::upgrade);
        if waker.is_some_and(|waker| matches!(waker.try_send(()), Err(TrySendError::Disconnected(())))) {
            tracing::error!("the thread that keeps dedup runs has ended: the keys of new events stay in memory");
        }
    }

    pub fn size(&self) -> DedupSize {
        let runs = self.runs();
        let recent = self.recent.read();
        DedupSize {
            run_keys: runs.keys(),
            run_file_bytes: runs.runs().iter().map(|run| run.file_bytes()).sum(),
            run_memory_bytes: runs.memory_bytes() as u64,
            recent_memory_bytes: recent.memory_bytes() as u64,
        }
    }

    pub(super) fn set_coverage(&self, coverage: Coverage) {
        self.view.write().coverage = coverage;
    }

    /// Takes the runs that were found damaged since the last call.
    pub(super) fn take_damaged(&self) -> Vec<Arc<DedupRun>> {
        std::mem::take(&mut *self.damaged.lock())
    }

    pub(super) fn has_damaged(&self) -> bool {
        !self.damaged.lock().is_empty()
    }

    /// Returns the full tables from which runs can be made and that no run holds, in the order in which they were
    /// added.
    pub(super) fn unsaved(&self) -> Vec<Arc<KeyTable>> {
        let runs = self.runs();
        let recent = self.recent.read();
        recent.complete().filter(|table| !runs.covers(table.span())).cloned().collect()
    }

    /// Makes all later look-ups use `runs`, which must have every key of the runs before.
    pub(super) fn publish(&self, runs: RunSet) {
        self.publish_with(runs, self.view().coverage);
    }

    /// Like [`Self::publish`], but replaces the runs and the coverage together.
    pub(super) fn publish_with(&self, runs: RunSet, coverage: Coverage) {
        let view = RunView { runs: Arc::new(runs), coverage };
        let before = std::mem::replace(&mut *self.view.write(), view);
        self.replaced.lock().push(Arc::downgrade(&before.runs));
    }

    /// Drops from memory the keys that runs hold, unless a caller still holds an older set of runs.
    pub(super) fn release(&self) {
        let mut replaced = self.replaced.lock();
        replaced.retain(|runs| runs.strong_count() > 0);
        if replaced.is_empty() {
            let runs = self.runs();
            let mut recent = self.recent_mut();
            let covered = recent.take_covered(|span| runs.covers(span));
            self.count_full(&recent);
            drop(recent);
            // Freed after the lock is released: the tables are large.
            drop(covered);
        }
    }
}
