//! The way out of the log: single events, ranges of events, and a tail that follows the head. Never reads past the
//! head. Must not know how events are appended.
//!
//! All reads block (about 10 µs from the cache, otherwise a disk read). Keep them off async threads.

use std::sync::Arc;

use tokio::sync::watch;

use super::dedup::key::{Claim, Digest, Fingerprint, KnownKey};
use super::dedup::{Coverage, DedupRunError, DedupSize, KeyEntry, KeyIndex, RunSet, RunView};
use super::files::secret::LogSecret;
use super::format::{self, Listing, Row, StoredRecord};
use super::frame_store::FrameStore;
use super::journal_rotation::NotAccepting;
use crate::event::{
    Contents, Event, EventKey, Hash, Identity, Kind, ModeVerdict, Point, Position, Provenance, Timestamp,
};
use crate::segment::{Frame, FrameHeader, ReadError};
use crate::storage::{DecodeError, StoreError, StoreFault};

/// Bytes of bodies after which one read stops. A sealed frame may hold 256 records with highly compressible bodies.
const RUN_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Fields of an event that are stored in clear. They are known without its private bytes.
#[derive(Debug, Clone, Copy)]
pub struct EventHeader<'a> {
    pub position: Position,
    pub recorded_at: Timestamp,
    pub tenant: &'a str,
    pub endpoint: &'a str,
    pub provenance: Provenance,
    pub mode: ModeVerdict,
    /// [`Kind::UNKNOWN`] if only the body has the type.
    pub kind: Kind,
    /// Whether the body is no JSON object.
    pub is_unreadable: bool,
    pub is_conflict: bool,
    pub contents: Contents,
}

impl<'a> EventHeader<'a> {
    fn of(position: Position, row: &'a Row) -> Self {
        let header = &row.header;
        Self {
            position,
            recorded_at: row.recorded_at,
            tenant: header.entrance.tenant(),
            endpoint: header.entrance.endpoint(),
            provenance: header.provenance,
            mode: header.mode,
            kind: header.kind,
            is_unreadable: header.is_unreadable,
            is_conflict: row.conflict_of.is_some(),
            contents: row.contents(),
        }
    }
}

/// Chosen events among adjacent ones that are stored together.
pub struct Selection {
    /// First position that was examined.
    first: Position,
    /// Chain value before `first`. `None` if it was not computed.
    before: Option<Hash>,
    pub events: Vec<Event>,
    /// Last position that was examined.
    pub through: Position,
    /// Chain value at `through`.
    pub chain: Hash,
}

/// A cheap handle on the durable part of the log.
#[derive(Clone)]
pub struct Reader {
    store: Arc<FrameStore>,
    index: Arc<KeyIndex>,
    secret: Arc<LogSecret>,
    head: watch::Receiver<Point>,
    identity: Identity,
}

impl Reader {
    pub(super) fn new(
        store: Arc<FrameStore>,
        index: Arc<KeyIndex>,
        secret: Arc<LogSecret>,
        head: watch::Receiver<Point>,
        identity: Identity,
    ) -> Self {
        Self { store, index, secret, head, identity }
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Returns the hash chain value before the first event.
    pub fn genesis(&self) -> Hash {
        format::genesis(self.identity.log_id)
    }

    pub fn head(&self) -> Point {
        *self.head.borrow()
    }

    /// Returns the event at a position. `None` for position 0, past the head, and in a gap.
    pub fn get(&self, position: Position) -> Result<Option<Event>, ReadError> {
        if position == 0 || position > self.head().position {
            return Ok(None);
        }
        let bytes = self.store.read(position)?;
        let records = list(&bytes, position)?.into_records(position)?;
        let record = records.iter().find(|record| record.position == position);
        record.map(|record| record.event().map_err(|error| damaged(position, error))).transpose()
    }

    /// Returns the last position that was recorded by `time`; 0 if there is none. Binary search: about 25 reads for 10
    /// million positions.
    pub fn position_at(&self, time: Timestamp) -> Result<Position, ReadError> {
        let mut by_then = 0;
        let mut after = self.head().position + 1;
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

    /// Returns the time at which the event at a position of the log was recorded; in a gap, the time of the gap.
    fn recorded_at(&self, position: Position) -> Result<Timestamp, ReadError> {
        let bytes = self.store.read(position)?;
        let FrameListing { header, listing } = list(&bytes, position)?;
        let row = listing.rows().find(|(at, _)| *at == position);
        Ok(row.map_or(header.last_recorded_at, |(_, row)| row.recorded_at))
    }

    /// Returns the event that claimed this key.
    pub fn find(&self, tenant: &str, key: &EventKey) -> Result<Option<Event>, ReadError> {
        let digest = Digest::of_event(&self.secret, tenant, key);
        let Some(entry) = self.index.find(digest).map_err(unreadable)? else { return Ok(None) };
        self.get(entry.position)
    }

    #[cfg(test)]
    pub(super) fn run_view(&self) -> RunView {
        self.index.view()
    }

    /// Returns the reason why webhooks wait for the keeper of dedup runs. `None` if they do not.
    pub fn waits_for_keys(&self) -> Option<NotAccepting> {
        self.check_coverage(Coverage::Newest).err()
    }

    /// Returns the runs to search, if the needed keys are known and memory takes more.
    pub(super) fn check_coverage(&self, needed: Coverage) -> Result<Arc<RunSet>, NotAccepting> {
        let RunView { runs, coverage } = self.index.view();
        if self.index.is_full() {
            Err(NotAccepting::KeysUnsaved)
        } else if coverage < needed {
            Err(NotAccepting::KeysUnknown)
        } else {
            Ok(runs)
        }
    }

    pub fn dedup_size(&self) -> DedupSize {
        self.index.size()
    }

    /// Returns the entries that runs have for a claim.
    pub(super) fn look_up(&self, runs: &RunSet, claim: Claim) -> Result<KnownKey, ReadError> {
        match self.index.find_in(runs, claim.digest).map_err(unreadable)? {
            None => Ok(KnownKey { through: runs.through(), ..KnownKey::default() }),
            Some(first) => self.decide(runs, claim, first),
        }
    }

    /// Returns the entries that runs have for a claim whose first entry is known. Reads the first event if its
    /// fingerprint is unknown.
    pub(super) fn decide(&self, runs: &RunSet, claim: Claim, first: KeyEntry) -> Result<KnownKey, ReadError> {
        let fingerprint = match first.fingerprint {
            Fingerprint::UNKNOWN => self.read_fingerprint(first.position)?.unwrap_or(claim.fingerprint),
            fingerprint => fingerprint,
        };
        let conflict = Digest::of_conflict(&self.secret, first.position, claim.fingerprint);
        let is_conflict = fingerprint != claim.fingerprint;
        let has_conflict = is_conflict && self.index.find_in(runs, conflict).map_err(unreadable)?.is_some();
        Ok(KnownKey { first: Some(KeyEntry { fingerprint, ..first }), has_conflict, through: runs.through() })
    }

    /// Returns an event's fingerprint. `None` if the event cannot be read, or not any more: then the delivery counts as
    /// the same. It is never stored as a conflict, because an erased event would come back.
    fn read_fingerprint(&self, position: Position) -> Result<Option<Fingerprint>, ReadError> {
        match self.get(position) {
            Ok(event) => {
                let event = event.filter(|event| event.contents == Contents::Whole);
                Ok(event.map(|event| Fingerprint::of(&self.secret, event.delivery.body.content())))
            }
            Err(ReadError::Damaged { reason, .. }) => {
                tracing::warn!(
                    position,
                    reason,
                    "the first event of a key cannot be read; its duplicate counts as having the same content"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the events from `from` on that are stored together. Empty for position 0 and past the head.
    pub fn read(&self, from: Position) -> Result<Vec<Event>, ReadError> {
        Ok(self.select(from, Position::MAX, |_| true)?.map_or_else(Vec::new, |selection| selection.events))
    }

    /// Returns the wanted events from `from` to `to` among those that are stored together. The others are neither
    /// unpacked nor parsed. `None` if the log has no event there. Skips gaps.
    pub fn select(
        &self,
        from: Position,
        to: Position,
        is_wanted: impl Fn(&EventHeader<'_>) -> bool,
    ) -> Result<Option<Selection>, ReadError> {
        let to = to.min(self.head().position);
        let mut from = from;
        while from > 0 && from <= to {
            let bytes = self.store.read(from)?;
            let listing = list(&bytes, from)?;
            let last = listing.last();
            if let Some(selection) = listing.select(from, to, &is_wanted)? {
                return Ok(Some(selection));
            }
            from = last + 1;
        }
        Ok(None)
    }

    #[cfg(test)]
    pub(super) fn index(&self) -> &KeyIndex {
        &self.index
    }

    #[cfg(test)]
    pub(super) fn store(&self) -> &FrameStore {
        &self.store
    }

    /// Returns the number of closed journals that are not sealed.
    #[cfg(test)]
    pub(super) fn closed_journals(&self) -> usize {
        self.store.closed_journals()
    }

    /// Returns once the log is closed: its head does not grow any more.
    pub async fn closed(&self) {
        let mut head = self.head.clone();
        while head.changed().await.is_ok() {}
    }

    /// Returns a tail that follows all events after a position, indefinitely.
    pub fn tail(&self, after: Position) -> Tail {
        Tail { reader: self.clone(), last: after, chain: None }
    }
}

fn unreadable(error: DedupRunError) -> ReadError {
    ReadError::Store(match error {
        DedupRunError::Io { path, source } => StoreError::new(format!("read the dedup run {}", path.display()), source),
        DedupRunError::Damaged { path, source } => {
            StoreError::new(format!("read the dedup run {}", path.display()), StoreFault::Damaged(source.0.into()))
        }
    })
}

fn damaged(from: Position, error: DecodeError) -> ReadError {
    ReadError::Damaged { from, reason: error.0 }
}

/// Returns the listing of the frame that should hold a position.
fn list(bytes: &[u8], position: Position) -> Result<FrameListing<'_>, ReadError> {
    let list = || {
        let frame = Frame::decode(bytes)?;
        // The nearest frame before a hole.
        if frame.header.last() < position {
            return Err(DecodeError("no frame holds the position"));
        }
        Ok(FrameListing { header: frame.header, listing: Listing::of(frame)? })
    };
    list().map_err(|error| damaged(position, error))
}

struct FrameListing<'a> {
    header: FrameHeader,
    listing: Listing<'a>,
}

impl<'a> FrameListing<'a> {
    fn last(&self) -> Position {
        self.header.last()
    }

    /// Selects the wanted events from `from` to `to`. `None` if the frame has no event there.
    fn select(
        self,
        from: Position,
        to: Position,
        is_wanted: impl Fn(&EventHeader<'_>) -> bool,
    ) -> Result<Option<Selection>, ReadError> {
        let Self { header, listing } = self;
        let rows = listing.rows().filter(|(position, _)| (from..=to).contains(position));
        let rows: Vec<_> = rows.map(|(position, row)| (position, is_wanted(&EventHeader::of(position, row)))).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let wanted: Vec<_> = rows.into_iter().filter_map(|(position, wanted)| wanted.then_some(position)).collect();
        if wanted.is_empty() && header.last() <= to {
            let first = from.max(header.first);
            let before = (from <= header.first).then_some(header.before);
            return Ok(Some(Selection {
                first,
                before,
                events: Vec::new(),
                through: header.last(),
                chain: header.after,
            }));
        }
        let records = Self { header, listing }.into_records(from)?;
        unpack(header.before, &records, from, to, |position| wanted.binary_search(&position).is_ok()).map(Some)
    }

    /// Unpacks the records. `from` is the position that an error names.
    fn into_records(self, from: Position) -> Result<Vec<StoredRecord<'a>>, ReadError> {
        self.listing.into_records().map_err(|error| damaged(from, error))
    }
}

/// Unpacks the wanted events of a frame. Not all of them if their bodies are large.
fn unpack(
    before: Hash,
    records: &[StoredRecord<'_>],
    from: Position,
    to: Position,
    is_wanted: impl Fn(Position) -> bool,
) -> Result<Selection, ReadError> {
    let skipped = records.partition_point(|record| record.position < from);
    let before = skipped.checked_sub(1).map_or(before, |last| records[last].chain);
    let first = records.get(skipped).map_or(from, |record| record.position);
    let mut selection = Selection { first, before: Some(before), events: Vec::new(), through: from, chain: before };
    let mut body_bytes = 0;
    for record in records[skipped..].iter().take_while(|record| record.position <= to) {
        selection.through = record.position;
        selection.chain = record.chain;
        if !is_wanted(record.position) {
            continue;
        }
        let event = record.event().map_err(|error| damaged(record.position, error))?;
        body_bytes += event.delivery.body.len();
        selection.events.push(event);
        if body_bytes >= RUN_BODY_BYTES_MAX {
            break;
        }
    }
    Ok(selection)
}

/// Reads the log in order, frame by frame, and waits at its end.
pub struct Tail {
    reader: Reader,
    last: Position,
    /// Chain value at `last`, once it has been read. The next events must continue from it.
    chain: Option<Hash>,
}

impl Tail {
    /// Waits for events. Returns true if there is something to read, false if everything was read and the log is
    /// closed.
    pub async fn wait(&mut self) -> bool {
        let last = self.last;
        let ready = self.reader.head.wait_for(|head| head.position > last).await.is_ok();
        // A closed watch still holds its last value.
        ready || self.reader.head().position > last
    }

    /// Returns the next events. Empty if there are none yet. Blocks.
    pub fn read(&mut self) -> Result<Vec<Event>, ReadError> {
        Ok(self.select(|_| true)?.map_or_else(Vec::new, |selection| selection.events))
    }

    /// Returns the wanted events among the next ones. `None` if there are no next events yet. Blocks.
    pub fn select(&mut self, is_wanted: impl Fn(&EventHeader<'_>) -> bool) -> Result<Option<Selection>, ReadError> {
        let selected = self.reader.select(self.last + 1, Position::MAX, is_wanted)?;
        if let Some(Selection { first, before, through, chain, .. }) = &selected {
            let is_broken = self.chain.zip(*before).is_some_and(|(chain, before)| chain != before);
            // A gap has a chain value of its own.
            if is_broken && *first == self.last + 1 {
                return Err(ReadError::Damaged {
                    from: self.last + 1,
                    reason: "the chain is broken between two frames",
                });
            }
            self.last = *through;
            self.chain = Some(*chain);
        }
        Ok(selected)
    }
}
