//! All keys that are known: those in memory and those in runs, for the one who claims and all who look up. Reads runs, and writes
//! no file.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockWriteGuard, Weak};

use super::recent::{KeyTable, RecentKeys};
use super::runs::{Run, RunError, RunSet};
use super::{Digest, KeyEntry};
use crate::log::Head;

/// Full tables of keys in memory, beyond which nothing is appended: some 700 MB, if 12 million events came since a run could be
/// saved.
pub(super) const FULL_TABLES_MAX: usize = 96;

/// Which keys of the log are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coverage {
    /// Keys of events that may still be sent again are missing.
    Partial,
    /// Those of the last days are known, which is how long webhooks are sent again.
    Newest,
    /// All that the log can still tell.
    Whole,
}

/// Runs, and what they and memory know. The two are taken together: a set of runs and a later coverage would miss keys.
#[derive(Clone)]
pub struct RunView {
    /// While they are held, memory keeps every key that they do not have.
    pub runs: Arc<RunSet>,
    pub coverage: Coverage,
}

/// What the dedup index takes.
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
    /// Full tables of which runs can be made.
    full_tables: AtomicUsize,
    view: RwLock<RunView>,
    /// Sets that were replaced, for as long as somebody holds them.
    replaced: Mutex<Vec<Weak<RunSet>>>,
    /// Runs that were found damaged.
    damaged: Mutex<Vec<Arc<Run>>>,
    /// Ends with the thread that keeps runs.
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

    /// Knows no key.
    pub fn empty() -> Self {
        Self::new(RecentKeys::after(0), RunSet::default(), Coverage::Whole)
    }

    pub fn view(&self) -> RunView {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn runs(&self) -> Arc<RunSet> {
        self.view().runs
    }

    /// Memory, for the one who claims keys.
    pub fn recent_mut(&self) -> RwLockWriteGuard<'_, RecentKeys> {
        self.recent.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`RecentKeys::close_if_full`].
    pub fn close_if_full(&self, head: Head, positions: u64) -> bool {
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

    /// Whether memory takes no more keys, since runs cannot be saved.
    pub fn is_full(&self) -> bool {
        self.full_tables.load(Ordering::Relaxed) >= FULL_TABLES_MAX
    }

    /// The first with a key, in memory or in the runs. May read a run, which blocks.
    pub fn find(&self, digest: Digest) -> Result<Option<KeyEntry>, RunError> {
        // While they are held, memory keeps what they do not have.
        let runs = self.runs();
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner).find(digest);
        let found = recent.into_iter().chain(self.find_in(&runs, digest)?);
        Ok(found.min_by_key(|entry| entry.position))
    }

    /// Asks runs. A damaged one is noted, to be made again.
    pub fn find_in(&self, runs: &RunSet, digest: Digest) -> Result<Option<KeyEntry>, RunError> {
        runs.find(digest).inspect_err(|error| self.note_damage(runs.runs(), error))
    }

    /// Notes which of the runs that were read must be made again.
    pub(super) fn note_damage(&self, runs: &[Arc<Run>], error: &RunError) {
        let Some(run) = runs.iter().find(|run| run.path() == error.path()) else { return };
        if run.is_lost_by(error) {
            let mut damaged = self.damaged();
            if !damaged.iter().any(|noted| Arc::ptr_eq(noted, run)) {
                damaged.push(run.clone());
            }
            drop(damaged);
            self.wake();
        }
    }

    fn damaged(&self) -> MutexGuard<'_, Vec<Arc<Run>>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `waker`: goes with the thread that keeps runs.
    pub(super) fn set_waker(&self, waker: Weak<SyncSender<()>>) {
        self.waker.get_or_init(|| waker);
    }

    /// Wakes the thread that keeps runs, if it does not wake already.
    pub fn wake(&self) {
        let waker = self.waker.get().and_then(Weak::upgrade);
        if waker.is_some_and(|waker| matches!(waker.try_send(()), Err(TrySendError::Disconnected(())))) {
            tracing::error!("the thread that keeps dedup runs has ended: the keys of new events stay in memory");
        }
    }

    pub fn size(&self) -> DedupSize {
        let runs = self.runs();
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        DedupSize {
            run_keys: runs.keys(),
            run_file_bytes: runs.runs().iter().map(|run| run.file_bytes()).sum(),
            run_memory_bytes: runs.memory_bytes() as u64,
            recent_memory_bytes: recent.memory_bytes() as u64,
        }
    }

    pub(super) fn set_coverage(&self, coverage: Coverage) {
        self.view.write().unwrap_or_else(PoisonError::into_inner).coverage = coverage;
    }

    /// Runs that were found damaged since the last call.
    pub(super) fn take_damaged(&self) -> Vec<Arc<Run>> {
        std::mem::take(&mut *self.damaged())
    }

    pub(super) fn has_damaged(&self) -> bool {
        !self.damaged().is_empty()
    }

    /// Full tables that no run holds, the oldest first.
    pub(super) fn unsaved(&self) -> Vec<Arc<KeyTable>> {
        let runs = self.runs();
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        recent.complete().filter(|table| !runs.covers(table.span())).cloned().collect()
    }

    /// Lets all later look-ups see these runs, which have no key less.
    pub(super) fn publish(&self, runs: RunSet) {
        self.publish_with(runs, self.view().coverage);
    }

    /// The same, where runs and what is known change together.
    pub(super) fn publish_with(&self, runs: RunSet, coverage: Coverage) {
        let view = RunView { runs: Arc::new(runs), coverage };
        let before = std::mem::replace(&mut *self.view.write().unwrap_or_else(PoisonError::into_inner), view);
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&before.runs));
    }

    /// Drops from memory what runs hold, unless somebody still looks at older ones.
    pub(super) fn release(&self) {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.retain(|runs| runs.strong_count() > 0);
        if replaced.is_empty() {
            let runs = self.runs();
            let mut recent = self.recent_mut();
            let covered = recent.take_covered(|span| runs.covers(span));
            self.count_full(&recent);
            drop(recent);
            // Freed after the lock: they are large.
            drop(covered);
        }
    }
}
