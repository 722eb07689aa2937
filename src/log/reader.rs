//! The way out of the log: single events, runs of them, and a tail that follows the head. Never past the head.
//!
//! All reads block (some 10 µs from the cache, a disk read otherwise); keep them off async threads.

use std::sync::Arc;

use tokio::sync::watch;

use super::Head;
use super::dedup::{Claim, DedupIndex, Digest};
use super::files::secret::LogSecret;
use super::format::{self, StoredRecord};
use super::frame_store::FrameStore;
use crate::blocklog::ReadError;
use crate::event::{Event, EventKey, Hash, Position, Timestamp};
use crate::segment::Frame;
use crate::storage::Garbled;
use crate::token::Identity;

/// Bodies that one read expands: a sealed frame may hold 256 records of highly compressible bodies.
const RUN_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Adjacent events, and the chain's value before the first.
struct Run {
    before: Hash,
    events: Vec<Event>,
}

/// A cheap handle on everything that is durable.
#[derive(Clone)]
pub struct Reader {
    store: Arc<FrameStore>,
    index: Arc<DedupIndex>,
    secret: Arc<LogSecret>,
    head: watch::Receiver<Head>,
    identity: Identity,
}

impl Reader {
    pub(super) fn new(
        store: Arc<FrameStore>,
        index: Arc<DedupIndex>,
        secret: Arc<LogSecret>,
        head: watch::Receiver<Head>,
        identity: Identity,
    ) -> Self {
        Self { store, index, secret, head, identity }
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The hash chain's value before the first event.
    pub fn genesis(&self) -> Hash {
        format::genesis(self.identity.log_id)
    }

    pub fn head(&self) -> Head {
        *self.head.borrow()
    }

    /// `None` for position 0, past the head, and in a gap.
    pub fn get(&self, position: Position) -> Result<Option<Event>, ReadError> {
        if position == 0 || position > self.head().position {
            return Ok(None);
        }
        let bytes = self.store.read(position)?;
        let records = decode(&bytes, position)?.records;
        let record = records.iter().find(|record| record.position == position);
        record.map(|record| record.event().map_err(|garbled| damaged(position, garbled))).transpose()
    }

    /// The last position that was recorded by then. 0: none was. A search by halves: some 25 reads of 10 million.
    pub fn position_at(&self, time: Timestamp) -> Result<Position, ReadError> {
        let (mut by_then, mut after) = (0, self.head().position + 1);
        while after - by_then > 1 {
            let middle = by_then + (after - by_then) / 2;
            if self.recorded_at(middle)? <= time {
                by_then = middle;
            } else {
                after = middle;
            }
        }
        Ok(by_then)
    }

    /// When the event at a position of the log was recorded; in a gap, when the gap was.
    fn recorded_at(&self, position: Position) -> Result<Timestamp, ReadError> {
        let bytes = self.store.read(position)?;
        let Decoded { records, last_recorded_at, .. } = decode(&bytes, position)?;
        let record = records.iter().find(|record| record.position == position);
        Ok(record.map_or(last_recorded_at, |record| record.recorded_at))
    }

    /// The event that claimed this key.
    pub fn find(&self, tenant: &str, key: &EventKey) -> Result<Option<Event>, ReadError> {
        let digest = Digest::of_event(&self.secret, tenant, key);
        let Some(position) = self.index.find(digest) else { return Ok(None) };
        let claim = Claim::Event { tenant: tenant.to_owned(), key: key.clone(), digest };
        self.confirm(position, &claim)
    }

    /// The event at a position that the index gave, if it really has this claim.
    pub(super) fn confirm(&self, position: Position, claim: &Claim) -> Result<Option<Event>, ReadError> {
        let event = self.get(position)?;
        Ok(event.filter(|event| match claim {
            Claim::Event { tenant, key, .. } => {
                event.conflict_of.is_none()
                    && event.delivery.tenant == *tenant
                    && event.delivery.key.as_ref() == Some(key)
            }
            Claim::Conflict { first, .. } => event.conflict_of == Some(*first),
        }))
    }

    /// Events from `from` on, as many as are stored together; empty for position 0 and past the head.
    pub fn read(&self, from: Position) -> Result<Vec<Event>, ReadError> {
        Ok(self.read_run(from)?.map_or_else(Vec::new, |run| run.events))
    }

    /// `None` for position 0 and past the head. Steps over gaps.
    fn read_run(&self, from: Position) -> Result<Option<Run>, ReadError> {
        let head = self.head().position;
        let mut from = from;
        while from > 0 && from <= head {
            let bytes = self.store.read(from)?;
            let Decoded { before, records, last, .. } = decode(&bytes, from)?;
            if let Some(run) = run(before, &records, from, head)? {
                return Ok(Some(run));
            }
            from = last + 1;
        }
        Ok(None)
    }

    /// Number of closed journals that are not sealed.
    #[cfg(test)]
    pub(super) fn closed_journals(&self) -> usize {
        self.store.closed_journals()
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

/// A frame whose records were checked.
struct Decoded<'a> {
    /// The chain's value before the first record.
    before: Hash,
    /// Empty if the frame is a gap.
    records: Vec<StoredRecord<'a>>,
    last: Position,
    last_recorded_at: Timestamp,
}

fn decode(bytes: &[u8], position: Position) -> Result<Decoded<'_>, ReadError> {
    let decode = || {
        let frame = Frame::decode(bytes)?;
        // The nearest frame before a hole.
        if frame.header.last() < position {
            return Err(Garbled("no frame holds it"));
        }
        let records = format::records(&frame)?;
        let header = frame.header;
        Ok(Decoded { before: header.before, records, last: header.last(), last_recorded_at: header.last_recorded_at })
    };
    decode().map_err(|garbled| damaged(position, garbled))
}

fn damaged(from: Position, garbled: Garbled) -> ReadError {
    ReadError::Damaged { from, reason: garbled.0 }
}

/// The events of a frame from `from` to `head`; `None` if it has none there.
fn run(before: Hash, records: &[StoredRecord<'_>], from: Position, head: Position) -> Result<Option<Run>, ReadError> {
    let skipped = records.partition_point(|record| record.position < from);
    let before = skipped.checked_sub(1).map_or(before, |last| records[last].chain);
    let mut events = Vec::new();
    let mut body_bytes = 0;
    for record in records[skipped..].iter().take_while(|record| record.position <= head) {
        let event = record.event().map_err(|garbled| damaged(record.position, garbled))?;
        body_bytes += event.delivery.body.len();
        events.push(event);
        if body_bytes >= RUN_BODY_BYTES_MAX {
            break;
        }
    }
    Ok((!events.is_empty()).then_some(Run { before, events }))
}

/// Reads the log in order, frame by frame, and waits at its end.
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
        let goes_on = run.events.first().is_some_and(|event| event.position == self.last + 1);
        // A gap has a chain of its own.
        if goes_on && self.chain.is_some_and(|chain| chain != run.before) {
            return Err(ReadError::Damaged { from: self.last + 1, reason: "the chain is broken between two frames" });
        }
        if let Some(event) = run.events.last() {
            self.last = event.position;
            self.chain = Some(event.chain);
        }
        Ok(run.events)
    }
}
