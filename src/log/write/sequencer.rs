//! The sequencer: decides order and time. It takes waiting deliveries in the order of the queue, reads the local clock,
//! asks the applier which are new, makes frames, commits, and answers. It runs on a thread of its own, because sled
//! blocks. Must not know how a commit becomes durable.
//!
//! Group commit without a timer: the sequencer takes the deliveries that already wait. A commit smaller than the last
//! one gives the callers that were just answered a moment to come back. Batches grow with the load. A second thread
//! that packs while the disk syncs was slower at 64 producers and no faster at 1024: it halves the batches.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::append::{AppendError, AppendOutcome, OrderedDeliveries, Pending};
use super::applier::{self, KeyVerdict};
use super::batch::CommitBatch;
use super::clock::{ClockGuard, ClockReading};
use super::commit::Committer;
use crate::event::Point;
use crate::log::dedup::key::Claim;
use crate::log::dedup::{KeyIndex, RunKeeper};
use crate::log::files::secret::LogSecret;
use crate::worker::Worker;

/// Maximum number of yields in which a commit waits for more deliveries: about 50 µs of an idle core. Half of a batch
/// in a commit of its own would cost one more sync.
const YIELDS_MAX: usize = 100;

pub struct Sequencer {
    pub index: Arc<KeyIndex>,
    pub keeper: RunKeeper,
    /// Number of positions whose keys make one run.
    pub run_events: u64,
    pub secret: Arc<LogSecret>,
    pub clock: ClockGuard,
    pub batch_events: usize,
    /// Head after the last commit.
    pub head: Point,
    /// Number of deliveries that the last commit answered.
    pub answered: usize,
    pub committer: Committer,
    /// Thread of the sealer. Ends once the committer's journals are dropped.
    pub sealer: Worker,
}

impl Sequencer {
    /// Runs until the last appender is dropped and every delivery is answered.
    pub fn run(mut self, mut queue: mpsc::Receiver<Pending>) {
        let mut left = None;
        while let Some(first) = left.take().or_else(|| queue.blocking_recv()) {
            let reading = self.clock.source().read();
            let mut batch = CommitBatch::after(&self.head, reading.now, self.secret.generation);
            if let Err(no_room) = self.committer.make_room(reading.uptime) {
                batch.refuse(first, no_room.into());
                batch.answer(&Ok(()));
                continue;
            }
            left = self.fill(&mut batch, reading, first, &mut queue);
            let result = self.committer.commit(&mut batch);
            self.head = batch.head();
            batch.answer(&result);
            if result.is_ok() && self.index.close_if_full(self.head, self.run_events) {
                self.index.wake();
            }
        }
        self.keeper.stop();
        self.committer.stop();
        self.sealer.join();
    }

    /// Takes `first` and the deliveries that wait after it, as many as fit. Returns the first one that does not fit.
    fn fill(
        &mut self,
        batch: &mut CommitBatch,
        reading: ClockReading,
        first: Pending,
        queue: &mut mpsc::Receiver<Pending>,
    ) -> Option<Pending> {
        let expected = std::mem::take(&mut self.answered);
        let mut yields = 0;
        let mut next = Some(first);
        while let Some(pending) = next {
            if !batch.has_room(pending.prepared.record.size()) {
                return Some(pending);
            }
            self.answered += 1;
            self.take(pending, batch, reading);
            next = self.next_waiting(queue, expected, &mut yields);
        }
        None
    }

    /// Returns a delivery that already waits. While fewer than `expected` deliveries were taken, yields the core to
    /// other threads and looks again, up to [`YIELDS_MAX`] times.
    fn next_waiting(
        &self,
        queue: &mut mpsc::Receiver<Pending>,
        expected: usize,
        yields: &mut usize,
    ) -> Option<Pending> {
        if self.answered == self.batch_events {
            return None;
        }
        loop {
            let next = queue.try_recv().ok();
            if next.is_some() || self.answered >= expected || *yields == YIELDS_MAX {
                return next;
            }
            *yields += 1;
            std::thread::yield_now();
        }
    }

    fn take(&mut self, pending: Pending, batch: &mut CommitBatch, reading: ClockReading) {
        let may_stamp = self.may_stamp(&pending, reading);
        let Pending { claim, lookup, .. } = &pending;
        let verdict = {
            let mut recent = self.index.recent_mut();
            applier::apply(&mut recent, &self.secret, *claim, lookup.known, batch.next(), may_stamp)
        };
        match verdict {
            Ok(KeyVerdict::New) => {
                self.clock.observe_stamp(reading, pending.origin.evidence);
                batch.add(pending, None);
            }
            Ok(KeyVerdict::Conflict { first, digest }) => {
                self.clock.observe_stamp(reading, pending.origin.evidence);
                let claim = Claim { digest, ..pending.claim };
                batch.add(Pending { claim, ..pending }, Some(first));
            }
            Ok(KeyVerdict::Duplicate { first }) => batch.repeat(pending.reply, first, AppendOutcome::Duplicate),
            Ok(KeyVerdict::KnownConflict { first }) => batch.repeat(pending.reply, first, AppendOutcome::Conflict),
            Ok(KeyVerdict::Undecided { first }) => batch.give_back(pending, first),
            Err(error) => batch.refuse(pending, error),
        }
    }

    fn may_stamp(&self, pending: &Pending, reading: ClockReading) -> Result<(), AppendError> {
        pending.origin.sequence.as_ref().map_or(Ok(()), OrderedDeliveries::check)?;
        Ok(self.clock.judge(reading, self.head.recorded_at, pending.origin.evidence)?)
    }
}
