//! Owns the snapshot of all state at one position, for readers. A snapshot stays at its position as long as it exists.
//! Must not change the state; knows no rule of the fold.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::changes::{ChangeLog, ChangeLookup, ChangeRange, Disposition, Ring};
use super::entities::{Connection, Id, JoinedExport, PositionChanges, Realm};
use super::state::pins::{Pin, Pins};
use super::state::{ExportSlot, MemberSlot, RealmState, ScanPart};
use crate::event::{Cursor, Hash, Point, Position, Timestamp};
use crate::segment::ReadError;

/// Number of entries that are visited under one lock: some 50 µs.
const VISITS: usize = 256;

/// State that all views of one fold share. One thread writes to it.
pub(super) struct SharedState {
    pub realms: RwLock<BTreeMap<Realm, Arc<RwLock<RealmState>>>>,
    pub ring: RwLock<Ring>,
    /// Has all changes that the ring has dropped. `None` if nothing that the ring has dropped is still needed.
    pub changes: Option<Arc<ChangeLog>>,
    pub pins: Pins,
}

impl SharedState {
    pub fn state(&self, realm: &Realm) -> Option<Arc<RwLock<RealmState>>> {
        self.realms.read().get(realm).cloned()
    }

    pub fn lookup(&self) -> ChangeLookup<'_> {
        ChangeLookup { realms: &self.realms, ring: &self.ring, changes: self.changes.as_deref() }
    }
}

/// A snapshot at one position. Reads take a lock for a moment each, and never see anything newer.
pub struct Views {
    pub(super) shared: Arc<SharedState>,
    pub(super) at: Point,
    pub(super) connections: usize,
    pub(super) exports: usize,
    /// Pin that keeps this position's state. `None` if the views are not readable.
    pub(super) pin: Option<Pin>,
}

impl Views {
    /// Returns whether the state may be read. If not, these views only give the fold's progress.
    pub fn is_readable(&self) -> bool {
        self.pin.is_some()
    }

    /// Returns the position up to which every event is applied. 0 if none is.
    pub fn position(&self) -> Position {
        self.at.position
    }

    /// Returns the recording time of the event at the position.
    pub fn recorded_at(&self) -> Timestamp {
        self.at.recorded_at
    }

    /// Returns how much later the event at the head was recorded than the last one that these views cover.
    pub fn lag(&self, head: &Point) -> Duration {
        if self.at.position == 0 || head.position <= self.at.position {
            return Duration::ZERO;
        }
        let micros = head.recorded_at.as_micros() - self.at.recorded_at.as_micros();
        Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }

    /// Returns the hash chain's value at the position. Zeros at position 0.
    pub fn chain(&self) -> Hash {
        self.at.chain
    }

    pub fn point(&self) -> Point {
        self.at
    }

    pub fn cursor(&self) -> Cursor {
        self.at.cursor()
    }

    /// Returns the number of connections in all realms.
    pub fn connection_count(&self) -> usize {
        self.connections
    }

    /// Returns the number of exports in all realms.
    pub fn export_count(&self) -> usize {
        self.exports
    }

    /// Returns the realms that an event has touched.
    pub fn realms(&self) -> Vec<Realm> {
        self.shared.realms.read().keys().cloned().collect()
    }

    pub fn connection(&self, realm: &Realm, id: &str) -> Option<Arc<Connection>> {
        let state = self.shared.state(realm)?;
        state.read().connection(&Id::find(id), self.at.position).cloned()
    }

    /// Returns an export with its connection. May read the change log, which blocks.
    pub fn export(&self, realm: &Realm, task_id: &str) -> Result<Option<JoinedExport>, ReadError> {
        let key = Id::find(task_id);
        let Some(state) = self.shared.state(realm) else { return Ok(None) };
        let slot = state.read().export(&key, self.at.position);
        slot.map(|slot| self.join(realm, &key, &slot)).transpose()
    }

    /// Returns the export of a slot, with its connection. May read the change log, which blocks.
    pub(super) fn join(&self, realm: &Realm, task_id: &Id, slot: &ExportSlot) -> Result<JoinedExport, ReadError> {
        let export = self.shared.lookup().resolve(realm, task_id, slot)?;
        Ok(match self.shared.state(realm) {
            Some(state) => state.read().join(export, self.at.position),
            None => JoinedExport { export, connection: None },
        })
    }

    /// Returns all connections after an id, in order.
    pub fn connections(&self, realm: &Realm, after: Option<Id>) -> impl Iterator<Item = (Id, Arc<Connection>)> + use<> {
        self.walk(realm, after, |state, after, at| state.connections(after, at, VISITS))
    }

    /// Returns the connections of one external id after an id, in order.
    pub(super) fn connections_of(
        &self,
        realm: &Realm,
        external_id: &str,
        after: Option<Id>,
    ) -> impl Iterator<Item = (Id, Arc<Connection>)> + use<> {
        let external_id = Id::find(external_id);
        self.walk(realm, after, move |state, after, at| state.connections_of(&external_id, after, at, VISITS))
    }

    /// Returns all exports after a task, in order.
    pub(super) fn exports(&self, realm: &Realm, after: Option<Id>) -> impl Iterator<Item = (Id, ExportSlot)> + use<> {
        self.walk(realm, after, |state, after, at| state.exports(after, at, VISITS))
    }

    /// Returns exports after a task, in order, that may settle in this range of times. All with a deadline in the range
    /// are among them.
    pub(super) fn exports_settling(
        &self,
        realm: &Realm,
        deadlines: &RangeInclusive<Timestamp>,
        after: Option<&Id>,
    ) -> impl Iterator<Item = (Id, ExportSlot)> + use<> {
        let at = self.at.position;
        let state = self.shared.state(realm);
        let mut ids = Vec::new();
        let mut last = (*deadlines.start(), Id::Empty);
        while let Some(state) = &state {
            let part = state.read().settling(&last, *deadlines.end(), VISITS);
            let Some(end) = part.last() else { break };
            last = end.clone();
            ids.extend(part.into_iter().map(|(_, id)| id).filter(|id| after.is_none_or(|after| id > after)));
        }
        // An export that changed meanwhile may have come twice.
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().filter_map(move |id| Some((id.clone(), state.as_ref()?.read().export(&id, at)?)))
    }

    /// Returns the exports of one connection after a task, in order; for [`Id::Empty`], those of none.
    pub(super) fn exports_of(
        &self,
        realm: &Realm,
        owner: Id,
        after: Option<Id>,
    ) -> impl Iterator<Item = (Id, MemberSlot)> + use<> {
        self.walk(realm, after, move |state, after, at| state.exports_of(&owner, after, at, VISITS))
    }

    fn walk<T, F>(&self, realm: &Realm, after: Option<Id>, mut step: F) -> impl Iterator<Item = (Id, T)> + use<T, F>
    where
        F: FnMut(&RealmState, Option<&Id>, Position) -> ScanPart<T>,
    {
        let at = self.at.position;
        let mut state = self.shared.state(realm);
        let mut after = after;
        let mut found = VecDeque::new();
        std::iter::from_fn(move || {
            while found.is_empty() {
                let part = step(&state.as_ref()?.read(), after.as_ref(), at);
                found.extend(part.found);
                match part.next {
                    Some(next) => after = Some(next),
                    None => state = None,
                }
            }
            found.pop_front()
        })
    }

    /// Returns the changes after a position, in order, at most `count_max`. Reads the change log, which blocks, unless
    /// they are in memory: see [`Self::floor`].
    pub fn changes_after(&self, position: Position, count_max: usize) -> Result<ChangeRange, ReadError> {
        self.shared.lookup().between(position, self.cursor(), count_max)
    }

    /// Returns how the fold treated the positions from `from` on, as far as one frame of the change log has them. Empty
    /// if they are not written yet, which is so for a few hundred at most. Reads from disk.
    pub fn dispositions(&self, from: Position) -> Result<Vec<Disposition>, ReadError> {
        self.shared.changes.as_ref().map_or(Ok(Vec::new()), |changes| changes.dispositions(from))
    }

    /// Returns the position after which all changes are in memory.
    pub fn floor(&self) -> Position {
        self.shared.ring.read().floor()
    }

    /// Returns the changes of an event. `None` if there are none. May read the change log, which blocks.
    pub(super) fn changes_at(&self, position: Position) -> Result<Option<Arc<PositionChanges>>, ReadError> {
        self.shared.lookup().at(position)
    }

    /// Returns the cursor at a position. `None` if the chain's value there is no longer known here.
    pub fn cursor_at(&self, position: Position) -> Option<Cursor> {
        if position == self.at.position {
            return Some(self.cursor());
        }
        self.shared.ring.read().at(position).map(|changes| changes.cursor())
    }
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").field("position", &self.at.position).finish_non_exhaustive()
    }
}
