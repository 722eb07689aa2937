//! Owns the running fold: applies one event after the other to the state that all views share. One thread owns it.
//! Knows no source of events and no file.

mod apply;

use std::sync::Arc;

use parking_lot::RwLock;

use self::apply::apply;
use super::changes::{ChangeLog, Disposition, Recorded, Recorder, Ring};
use super::entities::{Change, EventRef, Interner, Occurrence, PositionChanges, Realm};
use super::state::pins::{Pin, Pins};
use super::state::{RealmState, RestoredState};
use super::views::{SharedState, Views};
use crate::event::{ApiMode, Cursor, Event, ParsedEvent, Point, Position, Provenance};
use crate::segment::ReadError;
use crate::storage::StoreError;

/// Maximum number of exports settled with each event. Keeps the first event after a long pause short.
const SETTLED_AT_ONCE: usize = 16;
/// Number of ids with superseded versions that a publication checks, in addition to twice the number of changes. Takes
/// under a millisecond.
const RELEASED_AT_ONCE: usize = 4096;

/// Result of applying one event.
struct Applied {
    disposition: Disposition,
    /// `None` if the event changed nothing.
    changes: Option<Arc<PositionChanges>>,
}

impl Applied {
    fn unchanged(disposition: Disposition) -> Self {
        Self { disposition, changes: None }
    }
}

pub struct Fold {
    shared: Arc<SharedState>,
    recorder: Option<Recorder>,
    /// Texts that entities share.
    interner: Interner,
    at: Point,
    /// Positions that were pinned at the last publication. Until the next one, no others can be pinned.
    pinned: Vec<Position>,
    /// Number of changes since the last publication.
    changed: usize,
    /// Whether the ring keeps changes that the change log has, too. If not, it drops changes as early as possible,
    /// while they are still in the processor's caches.
    is_followed: bool,
}

impl Fold {
    /// Creates a fold before the first event, without a change log. Keeps the newest `ring_len` positions that change
    /// something for readers that follow.
    pub fn new(ring_len: usize) -> Self {
        Self::over(RestoredState::default(), Point::default(), None, ring_len)
    }

    /// Creates a fold with the state at a point. Later events are recorded in `changes`.
    pub(super) fn recorded(
        state: RestoredState,
        at: Point,
        changes: Arc<ChangeLog>,
        recorder: Recorder,
        ring_len: usize,
    ) -> Self {
        Self { recorder: Some(recorder), ..Self::over(state, at, Some(changes), ring_len) }
    }

    fn over(state: RestoredState, at: Point, changes: Option<Arc<ChangeLog>>, ring_len: usize) -> Self {
        let RestoredState { realms, interner } = state;
        let realms = realms.into_iter().map(|(realm, state)| (realm, Arc::new(RwLock::new(state)))).collect();
        let ring = RwLock::new(Ring::after_position(at.position, ring_len));
        let shared = SharedState { realms: RwLock::new(realms), ring, changes, pins: Pins::default() };
        Self {
            shared: Arc::new(shared),
            recorder: None,
            interner,
            at,
            pinned: Vec::new(),
            changed: 0,
            is_followed: true,
        }
    }

    pub fn position(&self) -> Position {
        self.at.position
    }

    /// Advances to `event`, which must be the next one. An error comes from the change log; after one, this fold cannot
    /// go on.
    pub fn advance(&mut self, event: &Event) -> Result<(), ReadError> {
        self.take(event.clone().into())
    }

    /// Like [`Self::advance`], but for an event that is parsed already.
    pub(super) fn take(&mut self, event: ParsedEvent) -> Result<(), ReadError> {
        let event_ref = EventRef { position: event.position, recorded_at: event.recorded_at };
        let chain = event.chain;
        let Applied { disposition, changes } = self.apply(event_ref, event)?;
        self.at = Point { position: event_ref.position, chain, recorded_at: event_ref.recorded_at };
        let weight = changes.as_ref().map_or(0, |changes| changes.weight());
        // Comes first: the ring must have all changes of the state, even if the change log fails.
        if let Some(changes) = &changes {
            self.show(changes.clone(), weight);
        }
        // After a restart the change log may be ahead of the checkpoint.
        if let Some(recorder) = &mut self.recorder
            && recorder.next() == event_ref.position
        {
            recorder.record(Recorded { event: event_ref, chain, disposition, changes }, weight)?;
        }
        Ok(())
    }

    fn apply(&mut self, event_ref: EventRef, event: ParsedEvent) -> Result<Applied, ReadError> {
        let ParsedEvent { chain, tenant, provenance, applies_to, body, .. } = event;
        let Some(mode) = applies_to else { return Ok(Applied::unchanged(Disposition::Withheld)) };
        if !body.is_readable {
            return Ok(Applied::unchanged(Disposition::Withheld));
        }
        let Some(mut report) = body.report else { return Ok(Applied::unchanged(Disposition::NoEntity)) };
        self.interner.share_report(&mut report);
        let (realm, state) = self.find_or_add_realm(tenant, mode);
        let occurrence = Occurrence { report: &report, event_ref, is_second_hand: provenance != Provenance::Webhook };
        let changes = apply(&state.read(), self.shared.lookup(), &realm, occurrence)?;
        if changes.is_empty() {
            return Ok(Applied::unchanged(Disposition::NoEntity));
        }
        let disposition = disposition(&changes, occurrence);
        let mut state = state.write();
        for change in &changes {
            state.put(change, &self.pinned);
        }
        // Exports settle only if the change log has their state.
        if self.recorder.is_some() {
            state.settle(event_ref.recorded_at, SETTLED_AT_ONCE);
        }
        self.changed += changes.len();
        let Cursor { position, chain } = Cursor::new(event_ref.position, &chain);
        let changes = Some(Arc::new(PositionChanges { position, chain, realm, changes }));
        Ok(Applied { disposition, changes })
    }

    /// Returns a realm by its parts, with its state. Adds a new realm. Known realms share their name in memory.
    fn find_or_add_realm(&self, tenant: Arc<str>, mode: ApiMode) -> (Realm, Arc<RwLock<RealmState>>) {
        let named = Realm { tenant, mode };
        if let Some((realm, state)) = self.shared.realms.read().get_key_value(&named) {
            return (realm.clone(), state.clone());
        }
        let state = Arc::<RwLock<RealmState>>::default();
        self.shared.realms.write().insert(named.clone(), state.clone());
        (named, state)
    }

    /// Adds changes to the ring, for readers that follow. The ring drops only changes that can be read from the change
    /// log; until then it keeps a few more.
    fn show(&mut self, changes: Arc<PositionChanges>, weight: usize) {
        let readable = self.recorder.as_ref().map_or(Position::MAX, Recorder::next_unwritten);
        let mut ring = self.shared.ring.write();
        ring.push(changes, weight);
        let oldest = |ring: &Ring| if self.is_followed { ring.surplus() } else { ring.oldest() };
        while oldest(&ring).is_some_and(|oldest| oldest < readable) {
            ring.drop_oldest();
        }
    }

    /// Sets whether watches may follow the changes from the ring.
    pub fn set_followed(&mut self, is_followed: bool) {
        self.is_followed = is_followed;
    }

    /// Publishes the current state for readers.
    pub fn publish(&mut self) -> Arc<Views> {
        let pin = self.shared.pins.pin(self.at.position);
        self.make_views(Some(pin))
    }

    /// Publishes only the progress, for callers that wait. The result is not readable: its state changes with the next
    /// event.
    pub fn progress(&mut self) -> Arc<Views> {
        self.make_views(None)
    }

    /// Releases superseded versions that no pinned position can see, and makes views of the current position.
    fn make_views(&mut self, pin: Option<Pin>) -> Arc<Views> {
        self.pinned = self.shared.pins.positions();
        let released = 2 * std::mem::take(&mut self.changed) + RELEASED_AT_ONCE;
        let mut connections = 0;
        let mut exports = 0;
        for state in self.shared.realms.read().values() {
            let mut state = state.write();
            state.release(&self.pinned, released);
            connections += state.connection_count();
            exports += state.export_count();
        }
        Arc::new(Views { shared: self.shared.clone(), at: self.at, connections, exports, pin })
    }

    /// Returns the number of superseded versions that are kept for older pinned positions.
    #[cfg(test)]
    pub(super) fn kept_versions(&self) -> usize {
        self.shared.realms.read().values().map(|state| state.read().superseded_count()).sum()
    }

    /// Makes the change log durable up to the current position.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.recorder.as_mut().map_or(Ok(()), Recorder::sync)
    }
}

/// Returns the disposition of an event with changes. For an event with the outcome of an export, the outcome decides
/// whether it is history.
fn disposition(changes: &[Change], occurrence: Occurrence<'_>) -> Disposition {
    let is_history = changes.last().is_some_and(|change| match change {
        Change::Export { previous, .. } => {
            let previous = previous.as_ref().map(|joined| joined.export.outcome_reported_at());
            previous.is_some_and(|previous| occurrence.reported_at() < previous)
        }
        Change::Connection { current, .. } => current.last_was_late,
    });
    if is_history { Disposition::AppliedAsHistory } else { Disposition::Applied }
}
