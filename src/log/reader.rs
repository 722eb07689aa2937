//! The way out of the log: single events, runs of them, and a tail that follows the head. Never past the head.
//!
//! All reads block (some 50 µs from the cache, a disk read otherwise); keep them off async threads.

use std::sync::Arc;

use tokio::sync::watch;

use super::dedup::{DedupIndex, Digest};
use super::{Head, chain, record};
use crate::blocklog::{self, ReadError, Store};
use crate::event::{Event, EventKey, Hash, Position, Timestamp};
use crate::token::Identity;

/// Adjacent events, and the chain's value before the first.
pub(super) struct Run {
    pub before: Hash,
    pub events: Vec<Event>,
}

/// The events from `position` to the end of the block that holds it. `position` must be in the log.
pub(super) fn read_run(store: &dyn Store, position: Position) -> Result<Run, ReadError> {
    let block = blocklog::read(store, position)?;
    let mut events =
        record::events(&block).map_err(|garbled| ReadError::Damaged { from: position, reason: garbled.0 })?;
    let skipped = usize::try_from(position - block.header.first).unwrap_or(usize::MAX);
    let before = match skipped {
        0 => block.header.before,
        _ => events[skipped - 1].chain,
    };
    events.drain(..skipped);
    Ok(Run { before, events })
}

/// A cheap handle on everything that is durable.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn Store>,
    index: Arc<DedupIndex>,
    head: watch::Receiver<Head>,
    identity: Identity,
}

impl Reader {
    pub(super) fn new(
        store: Arc<dyn Store>,
        index: Arc<DedupIndex>,
        head: watch::Receiver<Head>,
        identity: Identity,
    ) -> Self {
        Self { store, index, head, identity }
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The hash chain's value before the first event.
    pub fn genesis(&self) -> Hash {
        chain::genesis(self.identity.log_id)
    }

    pub fn head(&self) -> Head {
        *self.head.borrow()
    }

    /// None for position 0 and past the head.
    pub fn get(&self, position: Position) -> Result<Option<Event>, ReadError> {
        Ok(self.read(position)?.into_iter().next())
    }

    /// The last position that was recorded by then. 0: none was. A search by halves: some 25 reads of 10 million.
    pub fn position_at(&self, time: Timestamp) -> Result<Position, ReadError> {
        let (mut by_then, mut after) = (0, self.head().position + 1);
        while after - by_then > 1 {
            let middle = by_then + (after - by_then) / 2;
            match self.get(middle)? {
                Some(event) if event.recorded_at <= time => by_then = middle,
                _ => after = middle,
            }
        }
        Ok(by_then)
    }

    /// The event that claimed this key.
    pub fn find(&self, tenant: &str, key: &EventKey) -> Result<Option<Event>, ReadError> {
        let digest = Digest::of(self.identity.log_id, tenant, key);
        self.index.find(digest).map_or(Ok(None), |position| self.confirm(position, tenant, key))
    }

    /// The event at a position that the index gave, if it really has this key.
    pub(super) fn confirm(&self, position: Position, tenant: &str, key: &EventKey) -> Result<Option<Event>, ReadError> {
        let event = self.get(position)?;
        Ok(event.filter(|event| event.delivery.tenant == tenant && event.delivery.key.as_ref() == Some(key)))
    }

    /// Events from `from` on, as many as are stored together; empty for position 0 and past the head.
    pub fn read(&self, from: Position) -> Result<Vec<Event>, ReadError> {
        Ok(self.read_run(from)?.map_or_else(Vec::new, |run| run.events))
    }

    fn read_run(&self, from: Position) -> Result<Option<Run>, ReadError> {
        let head = self.head().position;
        if from == 0 || from > head {
            return Ok(None);
        }
        let mut run = read_run(&*self.store, from)?;
        run.events.truncate(usize::try_from(head - from + 1).unwrap_or(usize::MAX));
        Ok(Some(run))
    }

    /// Returns once the log is closed: its head grows no more.
    pub async fn closed(&self) {
        let mut head = self.head.clone();
        while head.changed().await.is_ok() {}
    }

    /// Everything after a position, for ever.
    pub fn tail(&self, after: Position) -> Tail {
        Tail { reader: self.clone(), last: after, chain: None }
    }
}

/// Reads the log in order, block by block, and waits at its end.
pub struct Tail {
    reader: Reader,
    last: Position,
    /// The chain's value at `last`, once it has been read: the next run must start from it.
    chain: Option<Hash>,
}

impl Tail {
    /// Returns true when there is something to read, false when all was read and the log is closed.
    pub async fn wait(&mut self) -> bool {
        let last = self.last;
        let ready = self.reader.head.wait_for(|head| head.position > last).await.is_ok();
        // A closed watch still holds its last value.
        ready || self.reader.head().position > last
    }

    /// The next events; empty if there are none yet. Blocks.
    pub fn read(&mut self) -> Result<Vec<Event>, ReadError> {
        let Some(run) = self.reader.read_run(self.last + 1)? else { return Ok(Vec::new()) };
        if self.chain.is_some_and(|chain| chain != run.before) {
            return Err(ReadError::Damaged { from: self.last + 1, reason: "the chain is broken between two blocks" });
        }
        if let Some(event) = run.events.last() {
            self.last = event.position;
            self.chain = Some(event.chain);
        }
        Ok(run.events)
    }
}
