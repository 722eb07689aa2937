//! Owns the state of one realm, as it is now and as it was at each pinned position: its connections and exports in the
//! order of their ids, the indexes from one to the other, and when an export settles. Knows no file and
//! no rule by which events change entities.
//!
//! An entity is never changed, only replaced, and has the position of its last change. A superseded version is kept
//! while it is the newest at a pinned position. So a reader of that position sees the state of then. Copying the paths
//! of persistent maps instead cost three times as much an event (docs/decisions.md).

pub mod pins;
mod superseded;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use self::superseded::SupersededVersions;
use super::entities::{Change, Connection, Export, Id, Interner, JoinedExport, Realm};
use crate::event::{Position, Timestamp};

/// The state of all realms, as a checkpoint has it.
#[derive(Default)]
pub struct RestoredState {
    pub realms: Vec<(Realm, RealmState)>,
    /// Texts that its entities share.
    pub interner: Interner,
}

/// State of an export in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportSlot {
    /// The whole export. Its links may still work, or it changed not long ago.
    Open(Arc<Export>),
    /// Position of the event that changed it last. The change log has the rest.
    Settled(Position),
}

impl ExportSlot {
    /// Returns the position of the last change.
    pub fn position(&self) -> Position {
        match self {
            Self::Open(export) => export.lineage.last.position,
            Self::Settled(position) => *position,
        }
    }
}

struct Connected {
    connection: Arc<Connection>,
    /// Exports that belong, or once belonged, to the connection. Those that moved on to another one are in `moved`,
    /// too.
    exports: Members,
}

/// Exports of one owner, in the order of their ids. Most owners have few exports, and there are millions of owners, so
/// a short list is an array without spare capacity. A long one is a tree, so that an insertion takes O(log n) at any
/// length.
#[expect(clippy::box_collection, reason = "boxed, the tree is no larger than the array: there are millions of owners")]
enum Members {
    Few(Vec<Id>),
    Many(Box<BTreeSet<Id>>),
}

/// Length above which an array becomes a tree.
const FEW_MAX: usize = 64;

impl Default for Members {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Members {
    /// Adds an export, unless it is there already.
    fn insert(&mut self, task_id: &Id) {
        match self {
            Self::Few(ids) => {
                let Err(at) = ids.binary_search(task_id) else { return };
                ids.reserve_exact(1);
                ids.insert(at, task_id.clone());
                if ids.len() > FEW_MAX {
                    *self = Self::Many(Box::new(ids.drain(..).collect()));
                }
            }
            Self::Many(ids) => {
                ids.insert(task_id.clone());
            }
        }
    }

    /// Returns the exports after an id, or all if it is `None`.
    fn after(&self, after: Option<&Id>) -> impl Iterator<Item = &Id> {
        let (few, many) = match self {
            Self::Few(ids) => (&ids[after.map_or(0, |after| ids.partition_point(|id| id <= after))..], None),
            Self::Many(ids) => (&[][..], Some(ids.range::<Id, _>(beyond(after)))),
        };
        few.iter().chain(many.into_iter().flatten())
    }
}

#[derive(Default)]
pub(super) struct RealmState {
    connections: BTreeMap<Id, Connected>,
    /// Pairs of an `external_id` and a connection. Those of connections that have another `external_id` now stay.
    by_external_id: BTreeSet<(Id, Id)>,
    exports: BTreeMap<Id, ExportSlot>,
    /// Exports that belong, or once belonged, to no connection.
    nobodys: Members,
    /// Exports that belonged to another connection, or to none, before.
    moved: BTreeSet<Id>,
    /// Open exports, in the order in which they settle.
    open: BTreeSet<(Timestamp, Id)>,
    superseded_connections: SupersededVersions<Arc<Connection>>,
    superseded_exports: SupersededVersions<Arc<Export>>,
}

/// A part of a walk: the entries found at a position.
pub(super) struct ScanPart<T> {
    pub found: Vec<(Id, T)>,
    /// Id after which the walk goes on. `None` if nothing is left.
    pub next: Option<Id>,
}

/// An export among those of a connection.
pub(super) struct MemberSlot {
    pub slot: ExportSlot,
    /// Whether the export may belong to another connection by now, or not yet to this one: only its own state shows
    /// that.
    pub has_moved: bool,
}

impl RealmState {
    pub fn connection(&self, id: &Id, at: Position) -> Option<&Arc<Connection>> {
        self.version(id, self.connections.get(id)?, at)
    }

    fn version<'a>(&'a self, id: &Id, connected: &'a Connected, at: Position) -> Option<&'a Arc<Connection>> {
        let newest = &connected.connection;
        if newest.lineage.last.position <= at { Some(newest) } else { self.superseded_connections.at(id, at) }
    }

    pub fn export(&self, task_id: &Id, at: Position) -> Option<ExportSlot> {
        self.slot(task_id, self.exports.get(task_id)?, at)
    }

    fn slot(&self, task_id: &Id, newest: &ExportSlot, at: Position) -> Option<ExportSlot> {
        if newest.position() <= at {
            return Some(newest.clone());
        }
        self.superseded_exports.at(task_id, at).cloned().map(ExportSlot::Open)
    }

    /// Returns an export with its connection, if that is known.
    pub fn join(&self, export: Arc<Export>, at: Position) -> JoinedExport {
        let connection = export.connection_id.as_ref().and_then(|id| self.connection(&Id::of(id), at)).cloned();
        JoinedExport { export, connection }
    }

    /// Returns connections after an id, in order. Visits at most `visits` entries.
    pub fn connections(&self, after: Option<&Id>, at: Position, visits: usize) -> ScanPart<Arc<Connection>> {
        let all = self.connections.range::<Id, _>(beyond(after));
        part(all, visits, |id, connected| self.version(id, connected, at).cloned())
    }

    /// Returns exports after a task, in order. Visits at most `visits` entries.
    pub fn exports(&self, after: Option<&Id>, at: Position, visits: usize) -> ScanPart<ExportSlot> {
        let all = self.exports.range::<Id, _>(beyond(after));
        part(all, visits, |task_id, slot| self.slot(task_id, slot, at))
    }

    /// Returns the open exports that settle after one time and up to another, in that order, at most `visits`. Reads
    /// the current index: an export that has settled since an older position was past its time by then.
    pub fn settling(&self, after: &(Timestamp, Id), to: Timestamp, visits: usize) -> Vec<(Timestamp, Id)> {
        let all = self.open.range((Bound::Excluded(after), Bound::Unbounded));
        all.take_while(|(at, _)| *at <= to).take(visits).cloned().collect()
    }

    /// Returns the connections of one external id after an id, in order. Visits at most `visits` entries.
    pub fn connections_of(
        &self,
        external_id: &Id,
        after: Option<&Id>,
        at: Position,
        visits: usize,
    ) -> ScanPart<Arc<Connection>> {
        let start = (external_id.clone(), after.cloned().unwrap_or(Id::Empty));
        let pairs = self.by_external_id.range((Bound::Excluded(start), Bound::Unbounded));
        let ids = pairs.take_while(|(owner, _)| owner == external_id).map(|(_, id)| (id, ()));
        part(ids, visits, |id, ()| {
            let connection = self.connection(id, at)?;
            let is_match = connection.facts.external_id.as_ref().map(Id::of).as_ref() == Some(external_id);
            is_match.then(|| connection.clone())
        })
    }

    /// Returns the exports of one connection after a task, in order. [`Id::Empty`] stands for no connection.
    pub fn exports_of(&self, owner: &Id, after: Option<&Id>, at: Position, visits: usize) -> ScanPart<MemberSlot> {
        let members = match owner {
            Id::Empty => Some(&self.nobodys),
            owner => self.connections.get(owner).map(|connected| &connected.exports),
        };
        let ids = members.into_iter().flat_map(|members| members.after(after)).map(|id| (id, ()));
        part(ids, visits, |id, ()| Some(MemberSlot { slot: self.export(id, at)?, has_moved: self.moved.contains(id) }))
    }

    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    pub fn export_count(&self) -> usize {
        self.exports.len()
    }

    /// Applies a change. `pinned` has the pinned positions, in order.
    pub fn put(&mut self, change: &Change, pinned: &[Position]) {
        match change {
            Change::Connection { current, .. } => self.put_connection(current, pinned),
            Change::Export { previous, current } => {
                self.put_export(previous.as_ref().map(|joined| &joined.export), &current.export, pinned);
            }
        }
    }

    fn put_connection(&mut self, current: &Arc<Connection>, pinned: &[Position]) {
        let id = Id::of(&current.id);
        let external_id = current.facts.external_id.as_ref();
        let connected = self.connections.get_mut(&id);
        let known = connected.as_ref().and_then(|connected| connected.connection.facts.external_id.as_ref());
        if let Some(external_id) = external_id
            && known != Some(external_id)
        {
            self.by_external_id.insert((Id::of(external_id), id.clone()));
        }
        match connected {
            None => {
                self.connections.insert(id, Connected { connection: current.clone(), exports: Members::default() });
            }
            Some(connected) => {
                let previous = std::mem::replace(&mut connected.connection, current.clone());
                self.superseded_connections.supersede(id, previous, current.lineage.last.position, pinned);
            }
        }
    }

    fn put_export(&mut self, previous: Option<&Arc<Export>>, current: &Arc<Export>, pinned: &[Position]) {
        let task_id = Id::of(&current.task_id);
        let owner = current.owner();
        if let Some(previous) = previous {
            self.open.remove(&(previous.settles_at(), task_id.clone()));
            self.superseded_exports.supersede(task_id.clone(), previous.clone(), current.lineage.last.position, pinned);
        }
        if previous.is_none_or(|previous| previous.owner() != owner) {
            if previous.is_some() {
                self.moved.insert(task_id.clone());
            }
            self.own(&owner, &task_id);
        }
        self.open.insert((current.settles_at(), task_id.clone()));
        self.exports.insert(task_id, ExportSlot::Open(current.clone()));
    }

    fn own(&mut self, owner: &Id, task_id: &Id) {
        // An event that gives an export its connection names that connection, and so makes it known.
        let connected = self.connections.get_mut(owner);
        connected.map_or(&mut self.nobodys, |connected| &mut connected.exports).insert(task_id);
    }

    /// Settles up to `count_max` expired exports: keeps only the position of their last change.
    pub fn settle(&mut self, now: Timestamp, count_max: usize) {
        for _ in 0..count_max {
            let Some((_, task_id)) = self.open.first().filter(|(at, _)| *at < now) else { return };
            if let Some(slot) = self.exports.get_mut(task_id) {
                *slot = ExportSlot::Settled(slot.position());
            }
            self.open.pop_first();
        }
    }

    #[cfg(test)]
    pub fn superseded_count(&self) -> usize {
        self.superseded_connections.count() + self.superseded_exports.count()
    }

    /// Drops superseded versions that no pinned position can see. Checks up to `count` ids, those first that have
    /// waited longest.
    pub fn release(&mut self, pinned: &[Position], count: usize) {
        let connections = &self.connections;
        let newest = |id: &Id| connections.get(id).map(|connected| connected.connection.lineage.last.position);
        self.superseded_connections.release(newest, pinned, count);
        let exports = &self.exports;
        self.superseded_exports.release(|id| exports.get(id).map(ExportSlot::position), pinned, count);
    }
}

fn part<'a, T, R, I>(all: I, visits: usize, look: impl Fn(&Id, T) -> Option<R>) -> ScanPart<R>
where
    I: Iterator<Item = (&'a Id, T)>,
{
    let mut found = Vec::new();
    let mut last: Option<&Id> = None;
    for (visited, (id, entry)) in all.enumerate() {
        if visited == visits {
            return ScanPart { found, next: last.cloned() };
        }
        last = Some(id);
        if let Some(value) = look(id, entry) {
            found.push((id.clone(), value));
        }
    }
    ScanPart { found, next: None }
}

fn beyond(after: Option<&Id>) -> (Bound<&Id>, Bound<&Id>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

/// Builds a state from the entries of a checkpoint, in its order: each connection, then its exports. Exports before the
/// first connection belong to none.
#[derive(Default)]
pub(super) struct StateBuilder {
    state: RealmState,
    connections: Vec<(Id, Connected)>,
    exports: Vec<(Id, ExportSlot)>,
    by_external_id: Vec<(Id, Id)>,
    open: Vec<(Timestamp, Id)>,
}

impl StateBuilder {
    pub fn add_connection(&mut self, connection: Arc<Connection>) {
        let id = Id::of(&connection.id);
        if let Some(external_id) = &connection.facts.external_id {
            self.by_external_id.push((Id::of(external_id), id.clone()));
        }
        self.connections.push((id, Connected { connection, exports: Members::default() }));
    }

    pub fn add_export(&mut self, task_id: Id, slot: ExportSlot) {
        if let ExportSlot::Open(export) = &slot {
            self.open.push((export.settles_at(), task_id.clone()));
        }
        self.own(&task_id);
        self.exports.push((task_id, slot));
    }

    /// Adds an export that has moved on to another connection.
    pub fn add_moved(&mut self, task_id: Id) {
        self.own(&task_id);
        self.state.moved.insert(task_id);
    }

    fn own(&mut self, task_id: &Id) {
        let members = self.connections.last_mut().map_or(&mut self.state.nobodys, |(_, owner)| &mut owner.exports);
        members.insert(task_id);
    }

    pub fn finish(self) -> RealmState {
        // Each map sorts its entries, and is then filled from one end to the other.
        RealmState {
            connections: self.connections.into_iter().collect(),
            by_external_id: self.by_external_id.into_iter().collect(),
            exports: self.exports.into_iter().collect(),
            open: self.open.into_iter().collect(),
            ..self.state
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn members_are_a_set_in_order_at_any_length(
            numbers in prop::collection::vec(0_u64..200, 0..300),
            at in 0_u64..200,
        ) {
            let ids: Vec<_> = numbers.iter().map(|number| Id::Hex([*number, 0])).collect();
            let mut members = Members::default();
            for id in &ids {
                members.insert(id);
            }
            let model: BTreeSet<_> = ids.into_iter().collect();
            prop_assert!(members.after(None).eq(&model));
            let at = Id::Hex([at, 0]);
            prop_assert!(members.after(Some(&at)).eq(model.iter().filter(|id| **id > at)));
        }
    }

    /// Bounds the run time: an array of all ids takes minutes, the tree takes less than a second.
    #[test]
    fn half_a_million_exports_of_one_owner_are_inserted_soon() {
        let started = Instant::now();
        let mut members = Members::default();
        // Steps of an odd constant visit the numbers in a scattered order.
        for step in 0..500_000_u64 {
            members.insert(&Id::Hex([step.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0]));
        }
        assert_eq!(members.after(None).count(), 500_000);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}
