//! The one writer: dedup, positions, blocks. It hands what it assembles to the committer, on a thread of its own each, so
//! that packing one commit overlaps with the disk's work on the one before.
//!
//! Group commit without a timer: what waits is taken until the committer is free. Load makes batches bigger by itself.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Head;
use super::append::{AppendError, Appended, Claim, Pending};
use super::assembly::{Assembler, Assembly};
use super::dedup::DigestMap;
use super::reader::{ReadError, Reader};
use crate::event::Clock;

pub(super) struct Writer {
    /// Confirms duplicates.
    pub reader: Reader,
    pub clock: Clock,
    pub assembler: Assembler,
    pub batch_events: usize,
    /// After everything handed over so far; durable only once the committer says so.
    pub assigned: Head,
    /// What the commit under way claims: not in the index yet.
    pub under_way: Arc<DigestMap<Appended>>,
    /// The committer is free.
    pub ready: mpsc::Receiver<()>,
    pub committer: mpsc::Sender<Assembly>,
}

/// Taken at once from the queue: so few that the committer does not wait long for what is being packed.
const TAKE_EVENTS: usize = 32;

/// The committer has gone, which it never does by itself.
struct CommitterGone;

impl Writer {
    /// Ends when the last appender is gone and everything is handed over.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Pending>) {
        let mut waiting = VecDeque::new();
        let mut taken = Vec::new();
        while !waiting.is_empty() || queue.recv_many(&mut taken, TAKE_EVENTS).await > 0 {
            waiting.extend(taken.drain(..));
            if self.hand_over_one(&mut queue, &mut waiting).await.is_err() {
                return;
            }
        }
    }

    /// Fills one assembly until the committer is free or no more fits, and hands it over.
    async fn hand_over_one(
        &mut self,
        queue: &mut mpsc::Receiver<Pending>,
        waiting: &mut VecDeque<Pending>,
    ) -> Result<(), CommitterGone> {
        let mut assembly = Assembly::after(&self.assigned, (self.clock)());
        let mut taken = Vec::new();
        self.fill(&mut assembly, waiting);
        loop {
            let room = self.batch_events.saturating_sub(assembly.answers());
            let open = room > 0 && waiting.is_empty() && !queue.is_closed();
            tokio::select! {
                biased;
                ready = self.ready.recv() => break ready.ok_or(CommitterGone)?,
                _ = queue.recv_many(&mut taken, room.min(TAKE_EVENTS)), if open => {
                    waiting.extend(taken.drain(..));
                    self.fill(&mut assembly, waiting);
                }
            }
        }
        self.assembler.finish(&mut assembly);
        self.assigned = assembly.head();
        self.under_way = assembly.claimed();
        self.committer.send(assembly).await.map_err(|_| CommitterGone)
    }

    /// Takes from the front of `waiting` what is new and fits; duplicates are to be answered with what they repeat.
    fn fill(&mut self, assembly: &mut Assembly, waiting: &mut VecDeque<Pending>) {
        while let Some(pending) = waiting.pop_front() {
            match self.first_of(&pending, assembly) {
                Ok(Some(first)) => assembly.repeat(pending.reply, first),
                Ok(None) => {
                    if let Some(pending) = self.assembler.push(assembly, pending) {
                        return waiting.push_front(pending);
                    }
                }
                Err(error) => pending.reply.send(Err(AppendError::Unconfirmed(error))),
            }
        }
    }

    /// The event that has this one's key already: in this very commit, in the one under way, or in the log.
    fn first_of(&self, pending: &Pending, assembly: &Assembly) -> Result<Option<Appended>, ReadError> {
        let Some(Claim { tenant, key, digest }) = &pending.claim else { return Ok(None) };
        if let Some(first) = assembly.first(*digest).or_else(|| self.under_way.get(digest).copied()) {
            return Ok(Some(Appended { duplicate: true, ..first }));
        }
        let found = self.reader.find_digest(*digest, tenant, key)?;
        Ok(found.map(|event| Appended {
            position: event.position,
            recorded_at: event.recorded_at,
            duplicate: true,
            chain: event.chain,
        }))
    }
}
