//! The one writer: dedup, positions, blocks, commits, answers. Runs on its own thread, for sled blocks.
//!
//! Group commit without a timer: take one, drain what already waits, commit, answer everyone. Load makes batches bigger
//! by itself. After the first failed commit it answers everybody with the reason and commits nothing more.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::append::{AppendError, Appended, Pending};
use super::assembly::{Assembler, Assembly};
use super::dedup::DedupIndex;
use super::reader::{ReadError, Reader};
use super::store::{Store, StoreError};
use super::witness::{Witness, WitnessKeeper};
use super::{Commit, Head, Health};
use crate::event::Clock;

/// Tells everybody, once and for ever, that a write failed.
#[derive(Clone)]
pub(super) struct Poison(watch::Sender<Health>);

impl Poison {
    pub fn new(health: watch::Sender<Health>) -> Self {
        Self(health)
    }

    /// The first failure stays.
    pub fn fail(&self, error: &StoreError) {
        self.0.send_if_modified(|health| {
            let first = *health == Health::Writable;
            if first {
                *health = Health::Failed(error.to_string().into());
            }
            first
        });
    }

    fn reason(&self) -> Option<Arc<str>> {
        match &*self.0.borrow() {
            Health::Writable => None,
            Health::Failed(reason) => Some(reason.clone()),
        }
    }
}

pub(super) struct Writer {
    pub store: Arc<dyn Store>,
    pub index: Arc<DedupIndex>,
    /// Confirms duplicates.
    pub reader: Reader,
    pub head: watch::Sender<Head>,
    pub poison: Poison,
    pub witness: WitnessKeeper,
    pub clock: Clock,
    pub assembler: Assembler,
    pub batch_events: usize,
    pub on_commit: Box<dyn Fn(Commit) + Send>,
}

impl Writer {
    /// Ends when the last appender is gone and everybody is answered.
    pub fn run(mut self, mut queue: mpsc::Receiver<Pending>) {
        let mut waiting = VecDeque::new();
        while let Some(pending) = queue.blocking_recv() {
            waiting.push_back(pending);
            while waiting.len() < self.batch_events
                && let Ok(pending) = queue.try_recv()
            {
                waiting.push_back(pending);
            }
            while !waiting.is_empty() {
                self.commit_some(&mut waiting);
            }
        }
        self.witness.stop();
    }

    /// Commits and answers as many as one commit may hold; at least one.
    fn commit_some(&mut self, waiting: &mut VecDeque<Pending>) {
        if let Some(reason) = self.poison.reason() {
            let refuse = |pending: Pending| pending.reply.send(Err(AppendError::Failed(reason.clone())));
            return waiting.drain(..).for_each(refuse);
        }
        let started = (self.clock)();
        let mut assembly = Assembly::after(&self.head.borrow(), started);
        let result = self.fill(&mut assembly, waiting).and_then(|()| self.commit(&assembly));
        match &result {
            Ok(()) if assembly.is_empty() => {}
            Ok(()) => (self.on_commit)(assembly.told((self.clock)().as_micros() - started.as_micros())),
            Err(error) => self.poison.fail(error),
        }
        assembly.answer(&result.map_err(|error| AppendError::Failed(error.to_string().into())));
    }

    /// Takes from the front of `waiting` what is new and fits; duplicates are answered with what they repeat.
    fn fill(&mut self, assembly: &mut Assembly, waiting: &mut VecDeque<Pending>) -> Result<(), StoreError> {
        while let Some(pending) = waiting.pop_front() {
            match self.first_of(&pending, assembly) {
                Ok(Some(first)) => assembly.repeat(pending.reply, first),
                Ok(None) => {
                    if let Err(pending) = self.assembler.push(assembly, pending)? {
                        waiting.push_front(pending);
                        break;
                    }
                }
                Err(error) => pending.reply.send(Err(AppendError::Unconfirmed(error))),
            }
        }
        self.assembler.finish(assembly)
    }

    /// The event that has this one's key already, in the log or in this very commit.
    fn first_of(&self, pending: &Pending, assembly: &Assembly) -> Result<Option<Appended>, ReadError> {
        let (Some(digest), Some(key)) = (pending.digest, &pending.delivery.key) else { return Ok(None) };
        if let Some(first) = assembly.claimed(digest) {
            return Ok(Some(first));
        }
        let found = self.reader.find_digest(digest, &pending.delivery.tenant, key)?;
        Ok(found.map(|event| Appended {
            position: event.position,
            recorded_at: event.recorded_at,
            duplicate: true,
            chain: event.chain,
        }))
    }

    /// Durable first, then witnessed, then visible; only the caller may answer after that.
    fn commit(&self, assembly: &Assembly) -> Result<(), StoreError> {
        if assembly.is_empty() {
            return Ok(());
        }
        let head = assembly.head();
        self.store.apply(assembly.batch())?;
        self.store.sync()?;
        self.witness.mark(&Witness::of(self.reader.identity(), &head))?;
        for (digest, appended) in assembly.claims() {
            self.index.insert(digest, appended.position);
        }
        self.head.send_replace(head);
        Ok(())
    }
}
