//! Keeps the runs, on a thread of its own: saves full tables, rebuilds lost runs, merges. A failed step is retried;
//! only memory waits for it. A stop or damage cuts a merge short. Knows nothing of the bytes of a run.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::watch;

use super::index::{Coverage, KeyIndex};
use super::key::{FINGERPRINT_VERSION, KeyEntry, RunOrigin};
use super::lost::{self, Collected};
use super::recent::KeyTable;
use super::runs::{self, DedupRun, MergeError, Overlap, RunHeader, Span, WriteRunError};
use crate::event::{Clock, Point, Timestamp};
use crate::log::files::secret::LogSecret;
use crate::log::frame_store::FrameStore;
use crate::storage::{Pace, Pacer, StoreError, free_space};
use crate::telemetry::with_causes;
use crate::worker::Worker;

/// Interval at which a failed step is retried and memory is checked.
const WAKE_EVERY: Duration = Duration::from_secs(1);
/// Longest pause after repeated failures.
const PAUSE_LONGEST: Duration = Duration::from_secs(60);
/// Number of tries to read a lost range, in some three minutes. The door may wait for the range, but not indefinitely:
/// if the system refuses to read it for longer, it is given up as if it were damaged.
const READ_TRIES_MAX: u32 = 8;
/// Age up to which the key of a webhook must be known, measured back from the newest event. Fasten sends a webhook
/// again for a day.
const NEWEST_MICROS: i64 = 72 * 60 * 60 * 1_000_000;
/// Number of full tables waiting to be saved at which no lost keys are read into memory.
const UNSAVED_MAX: usize = 4;
/// Like [`UNSAVED_MAX`], but after a failed step: the door need not wait for the disk.
const UNSAVED_MAX_FAILING: usize = 64;
/// Factor by which merging leaves more of the disk free than the door does.
const MERGE_RESERVE_FACTOR: u64 = 2;

pub struct KeeperOptions {
    pub index: Arc<KeyIndex>,
    /// Directory of the runs, `<data>/dedup`.
    pub directory: PathBuf,
    pub origin: RunOrigin,
    pub secret: Arc<LogSecret>,
    /// Frames of the log, from which lost runs are rebuilt.
    pub store: Arc<FrameStore>,
    /// Ranges whose runs are lost, the newest last.
    pub lost: Vec<Span>,
    /// Number of positions in one run.
    pub run_events: u64,
    /// Bytes of the disk that stay free.
    pub disk_reserve: u64,
    /// Newest event. Only this gives the current time here: the machine's clock may be wrong.
    pub head: watch::Receiver<Point>,
    pub now: Clock,
}

/// Handle of the thread, which the writer holds.
pub struct RunKeeper {
    /// Lets the index wake the thread. The thread ends after this is dropped.
    waker: Arc<SyncSender<()>>,
    thread: Worker,
}

impl RunKeeper {
    pub fn spawn(options: KeeperOptions) -> std::io::Result<Self> {
        let (waker, woken) = sync_channel(1);
        let waker = Arc::new(waker);
        options.index.set_waker(Arc::downgrade(&waker));
        let lost = options.lost.iter().flat_map(|span| parts(*span, options.run_events)).collect();
        let waiting = KeeperPace::new(woken, options.index.clone());
        let work = KeeperWork::new(options, lost, waiting);
        let thread = Worker::spawn("cleat-dedup", move || work.run())?;
        Ok(Self { waker, thread })
    }

    /// Stops the thread. Waits until the full tables are saved, or a step fails.
    pub fn stop(self) {
        drop(self.waker);
        self.thread.join();
    }
}

/// Splits a range into parts of one run each, ascending.
fn parts(span: Span, run_events: u64) -> impl Iterator<Item = Span> {
    let step = usize::try_from(run_events).unwrap_or(usize::MAX).max(1);
    (span.after..span.through)
        .step_by(step)
        .map(move |after| Span { after, through: span.through.min(after.saturating_add(run_events)) })
}

struct KeeperWork {
    options: KeeperOptions,
    /// Ranges of one run each, the newest last.
    lost: VecDeque<Span>,
    /// Number of times that the newest of them could not be read.
    read_tries: u32,
    /// Whether some lost keys are of events that cannot be read.
    has_given_up: bool,
    /// Number of times that a table could not be saved.
    failed_saves: usize,
    waiting: KeeperPace,
    pause: Duration,
    /// True if the last step failed, which was logged.
    has_failed: bool,
}

impl KeeperWork {
    /// `lost` are ranges of one run each, the newest last.
    fn new(options: KeeperOptions, lost: VecDeque<Span>, waiting: KeeperPace) -> Self {
        Self {
            options,
            lost,
            read_tries: 0,
            has_given_up: false,
            failed_saves: 0,
            waiting,
            pause: WAKE_EVERY,
            has_failed: false,
        }
    }

    fn run(mut self) {
        loop {
            let has_worked = self.step();
            self.options.index.release();
            let is_done = !has_worked || self.options.index.unsaved().is_empty();
            if self.waiting.has_ended && is_done {
                return;
            }
            let patience = if has_worked { Duration::ZERO } else { self.pause };
            self.waiting.wait(patience);
        }
    }

    /// Does the most urgent step. Returns whether there may be more to do.
    fn step(&mut self) -> bool {
        self.drop_damaged();
        self.note_coverage();
        match self.work() {
            Some(Ok(())) => (self.pause, self.has_failed) = (WAKE_EVERY, false),
            Some(Err(error)) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::warn!(error = with_causes(&error), "cannot update the dedup runs; trying again");
                }
                self.pause = (self.pause * 2).min(PAUSE_LONGEST);
                return false;
            }
            None => return false,
        }
        true
    }

    /// Runs the most urgent step. `None` if there is nothing to do.
    fn work(&mut self) -> Option<Result<(), StepError>> {
        let unsaved = self.options.index.unsaved();
        let unsaved_max = if self.has_failed { UNSAVED_MAX_FAILING } else { UNSAVED_MAX };
        let may_read = !self.waiting.has_ended && unsaved.len() < unsaved_max;
        // A range that cannot be read does not block saving.
        let is_read_first = self.read_tries == 0 || unsaved.is_empty();
        if may_read
            && is_read_first
            && let Some(span) = self.lost.back().copied()
        {
            Some(self.make_again(span))
        } else if !unsaved.is_empty() {
            // Memory grows while several tables wait.
            self.waiting.is_needed = unsaved.len() > 1;
            // A table that cannot be saved does not block the others.
            let saved = self.save(&unsaved[self.failed_saves % unsaved.len()]);
            self.failed_saves += usize::from(saved.is_err());
            Some(saved)
        } else if self.waiting.has_ended {
            None
        } else {
            let adjacent = self.due()?;
            self.waiting.is_needed = false;
            Some(self.merge(&adjacent))
        }
    }

    fn save(&mut self, table: &KeyTable) -> Result<(), StepError> {
        let KeeperOptions { origin, directory, index, .. } = &self.options;
        let header = RunHeader {
            origin: *origin,
            fingerprint_version: FINGERPRINT_VERSION,
            after: table.span().after,
            head: table.head(),
        };
        let run = runs::write(directory, header, table.entries(), &mut self.waiting)?;
        index.publish(index.runs().with(Arc::new(run))?);
        Ok(())
    }

    /// Reads the keys of the newest lost range from the log into memory, from which they are saved. Damaged events
    /// leave a gap among the runs, which the next start tries to fill.
    fn make_again(&mut self, span: Span) -> Result<(), StepError> {
        let KeeperOptions { store, secret, now, .. } = &self.options;
        let started = now();
        self.read_tries += 1;
        let Collected { entries, head, is_complete } =
            lost::collect(store, secret, span, self.read_tries == READ_TRIES_MAX)?;
        self.read_tries = 0;
        let nowhere = Point { position: span.through, chain: [0; 32], recorded_at: Timestamp::default() };
        let is_whole = is_complete && head.is_some();
        self.has_given_up |= !is_complete;
        let table = KeyTable::of(span.after, head.unwrap_or(nowhere), is_whole, &entries);
        self.report_second_records(&table, &entries);
        self.options.index.add(table);
        self.lost.pop_back();
        self.note_coverage();
        let Span { after, through } = span;
        let micros = now().as_micros() - started.as_micros();
        tracing::debug!(after, through, micros, "read the keys of a lost dedup run from the log");
        Ok(())
    }

    /// Warns about keys with a second record. A key may have been claimed again while it was not known.
    fn report_second_records(&self, table: &KeyTable, entries: &[KeyEntry]) {
        let within = entries.len() - table.count();
        let others = entries.iter().filter(|entry| {
            let other = self.options.index.find(entry.digest);
            other.is_ok_and(|other| other.is_some_and(|other| other.position != entry.position))
        });
        let count = within + others.count();
        if count > 0 {
            let Span { after, through } = table.span();
            tracing::warn!(after, through, count, "several events have the same key; the first event of a key counts");
        }
    }

    /// Updates the coverage of the index.
    fn note_coverage(&self) {
        let coverage = self.coverage();
        let before = self.options.index.view().coverage;
        self.options.index.set_coverage(coverage);
        if before != coverage && coverage == Coverage::Whole {
            if self.has_given_up {
                tracing::warn!(
                    "read the keys of all lost dedup runs from the log, except those of events that cannot be read"
                );
            } else {
                tracing::info!("read the keys of all lost dedup runs from the log");
            }
        }
    }

    /// Returns the current coverage. All keys are known but those of the remaining lost ranges.
    fn coverage(&self) -> Coverage {
        match self.lost.back() {
            None => Coverage::Whole,
            Some(newest) if self.is_old(*newest) => Coverage::Newest,
            Some(_) => Coverage::Partial,
        }
    }

    /// Returns whether the events of a range are no longer sent again.
    fn is_old(&self, span: Span) -> bool {
        let newest = self.options.head.borrow().recorded_at;
        let recorded_at = self.options.store.recorded_at(span.through);
        recorded_at.is_some_and(|time: Timestamp| time.plus_micros(NEWEST_MICROS) < newest)
    }

    /// Takes damaged runs out of use, and queues their ranges to be rebuilt.
    fn drop_damaged(&mut self) {
        for run in self.options.index.take_damaged() {
            let runs = self.options.index.runs();
            if !runs.has(&run) {
                continue;
            }
            tracing::error!(path = %run.path().display(), "a dedup run is damaged; rebuilding it from the log");
            self.lost.extend(parts(run.span(), self.options.run_events));
            self.lost.make_contiguous().sort_unstable();
            self.read_tries = 0;
            self.options.index.publish_with(runs.without(&run), self.coverage());
            if let Err(error) = runs::remove(&self.options.directory, [run.path()]) {
                tracing::warn!(%error, "a damaged dedup run cannot be removed");
            }
        }
    }

    /// Returns the runs to merge next. `None` if none are due, or too little of the disk is free.
    fn due(&self) -> Option<Vec<Arc<DedupRun>>> {
        let reserve = self.options.disk_reserve.saturating_mul(MERGE_RESERVE_FACTOR);
        if free_space(&self.options.directory).is_ok_and(|free| free < reserve) {
            return None;
        }
        let runs = self.options.index.runs();
        runs::due(runs.runs()).map(|range| runs.runs()[range].to_vec())
    }

    fn merge(&mut self, adjacent: &[Arc<DedupRun>]) -> Result<(), StepError> {
        let KeeperOptions { directory, index, .. } = &self.options;
        self.waiting.is_merging = true;
        let merged = runs::merge(directory, adjacent, &mut self.waiting);
        let was_cut_short = self.waiting.is_over();
        self.waiting.is_merging = false;
        let merged = match merged {
            Err(_) if was_cut_short => return Ok(()),
            merged => merged.inspect_err(|error| {
                if let MergeError::Input(error) = error {
                    index.note_damage(adjacent, error);
                }
            })?,
        };
        index.publish(index.runs().with_merged(Arc::new(merged))?);
        Ok(runs::remove(directory, adjacent.iter().map(|run| run.path()))?)
    }
}

/// Reason why a step failed. The step is retried.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("lost keys cannot be read from the log")]
    Read(#[from] StoreError),
    #[error("a dedup run cannot be written")]
    Write(#[from] WriteRunError),
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error(transparent)]
    Overlap(#[from] Overlap),
    #[error("merged dedup runs cannot be removed")]
    Remove(#[from] std::io::Error),
}

/// Pace of the thread's work: slow unless the work is urgent or the writer has gone.
struct KeeperPace {
    woken: Receiver<()>,
    /// True if the current work is urgent.
    is_needed: bool,
    /// True once the writer has gone.
    has_ended: bool,
    /// True while a merged run is written, which can wait.
    is_merging: bool,
    index: Arc<KeyIndex>,
    pacer: Pacer,
}

impl KeeperPace {
    fn new(woken: Receiver<()>, index: Arc<KeyIndex>) -> Self {
        Self { woken, is_needed: false, has_ended: false, is_merging: false, index, pacer: Pacer::new() }
    }

    fn wait(&mut self, patience: Duration) {
        match self.woken.recv_timeout(patience) {
            // A full table waits, or a run is damaged.
            Ok(()) => self.is_needed = true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.has_ended = true,
        }
        self.pacer.resume();
    }
}

impl Pace for KeeperPace {
    fn is_slow(&self) -> bool {
        !self.is_needed && !self.has_ended
    }

    fn pause(&mut self) {
        if !self.has_ended {
            let pause = if self.is_slow() { self.pacer.due_pause() } else { Duration::ZERO };
            self.wait(pause);
        }
    }

    fn is_over(&self) -> bool {
        self.is_merging && (self.has_ended || self.index.has_damaged())
    }
}
