//! The one writer: takes what waits, finds what is new, assigns positions, makes frames, commits, answers. Runs on a thread
//! of its own, for sled blocks.
//!
//! Group commit without a timer: what already waits is taken, and a commit smaller than the last one gives those who were
//! just answered a moment to come back. Load makes batches bigger by itself. A second thread that packs while the disk syncs
//! was slower at 64 producers and no faster at 1024: it halves the batches.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::Head;
use super::append::{AppendError, Appended, Pending, Sequence};
use super::assembly::Assembly;
use super::clock::{ClockGuard, Reading};
use super::commit::Committer;
use super::dedup::{DedupIndex, Digest, Saver};
use super::reader::Reader;
use crate::blocklog::ReadError;
use crate::event::{Hash, Position};

/// What a commit waits for more at most, some 50 µs of an idle core: half of a batch in a commit of its own would cost a
/// sync more.
const YIELDS_MAX: usize = 100;

pub(super) struct Writer {
    pub index: Arc<DedupIndex>,
    pub saver: Saver,
    /// Confirms duplicates.
    pub reader: Reader,
    pub clock: ClockGuard,
    pub batch_events: usize,
    /// The generation of the log secret.
    pub generation: u32,
    /// After the last commit.
    pub head: Head,
    /// How many deliveries the last commit answered.
    pub answered: usize,
    pub committer: Committer,
    /// Ends once the committer's journals are gone.
    pub sealer: JoinHandle<()>,
}

impl Writer {
    /// Ends when the last appender is gone and everything is answered.
    pub fn run(mut self, mut queue: mpsc::Receiver<Pending>) {
        let mut left = None;
        while let Some(first) = left.take().or_else(|| queue.blocking_recv()) {
            let reading = self.clock.source().read();
            let mut assembly = Assembly::after(&self.head, reading.now, self.generation);
            if let Err(no_room) = self.committer.make_room(reading.uptime) {
                assembly.refuse(first, no_room.into());
                assembly.answer(&Ok(()));
                continue;
            }
            left = self.fill(&mut assembly, reading, first, &mut queue);
            let result = self.committer.commit(&mut assembly);
            self.head = assembly.head();
            assembly.answer(&result);
            if result.is_ok() {
                self.saver.durable(self.head);
            }
        }
        self.saver.stop();
        self.committer.stop();
        if self.sealer.join().is_err() {
            tracing::error!("the sealer panicked");
        }
    }

    /// Takes `first` and what waits after it, as much as fits; gives back what did not.
    fn fill(
        &mut self,
        assembly: &mut Assembly,
        reading: Reading,
        first: Pending,
        queue: &mut mpsc::Receiver<Pending>,
    ) -> Option<Pending> {
        let expected = std::mem::take(&mut self.answered);
        let mut yields = 0;
        let mut next = Some(first);
        while let Some(pending) = next {
            if !assembly.has_room(pending.prepared.record.size()) {
                return Some(pending);
            }
            self.answered += 1;
            match self.first_of(&pending, assembly, reading) {
                Ok(Some(first)) => assembly.repeat(pending, first),
                Ok(None) => {
                    self.clock.observe_stamp(reading, pending.origin.evidence);
                    assembly.add(pending);
                }
                Err(error) => assembly.refuse(pending, error),
            }
            next = self.next_waiting(queue, expected, &mut yields);
        }
        None
    }

    /// What waits already, or comes while some of those who are `expected` are still missing and others have the core.
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

    /// The event that has this one's key already, in this very commit or in the log. If none has, the clock may stamp this
    /// one, and its key is claimed.
    fn first_of(
        &mut self,
        pending: &Pending,
        assembly: &Assembly,
        reading: Reading,
    ) -> Result<Option<Appended>, AppendError> {
        let new = self.may_stamp(pending, reading).map(|()| None);
        let Some(claim) = &pending.claim else { return new };
        let digest = claim.digest();
        let taken = if new.is_ok() { self.claim(digest, assembly.next()) } else { self.index.find(digest) };
        let Some(position) = taken else { return new };
        if let Some(first) = assembly.appended(position) {
            return Ok(Some(first));
        }
        match self.reader.confirm(position, claim) {
            Ok(Some(event)) => Ok(Some(Appended {
                position: event.position,
                recorded_at: event.recorded_at,
                duplicate: true,
                conflict: false,
                chain: event.chain,
            })),
            Ok(None) => new,
            // The digest is the key's own: the event is there, and only cannot be read any more. To refuse its retries would mend
            // nothing.
            Err(ReadError::Damaged { reason, .. }) => {
                tracing::warn!(position, reason, "a duplicate of an event that cannot be read is answered");
                Ok(Some(Appended {
                    position,
                    recorded_at: self.head.recorded_at,
                    duplicate: true,
                    conflict: false,
                    chain: Hash::default(),
                }))
            }
            Err(error) => Err(AppendError::Unconfirmed(error)),
        }
    }

    fn may_stamp(&self, pending: &Pending, reading: Reading) -> Result<(), AppendError> {
        pending.origin.sequence.as_ref().map_or(Ok(()), Sequence::check)?;
        Ok(self.clock.judge(reading, self.head.recorded_at, pending.origin.evidence)?)
    }

    /// Takes the key for `position`, unless it is taken: then returns by which.
    fn claim(&mut self, digest: Digest, position: Position) -> Option<Position> {
        let taken = self.index.claim(digest, position);
        if taken.is_none() {
            self.saver.claimed(digest, position);
        }
        taken
    }
}
