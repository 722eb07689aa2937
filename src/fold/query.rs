//! Queries over one snapshot: the connections and exports that may match, in the order of their ids. Plans which index
//! is read. Knows no filter of the API, and no page.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::entities::{Connection, Id, JoinedExport, Realm};
use super::state::ExportSlot;
use super::views::Views;
use crate::event::{Position, Timestamp};
use crate::segment::ReadError;

/// Maximum number of owners whose exports are gathered. With more owners, looking at every export in turn costs no
/// more.
const OWNERS_MAX: usize = 1000;

/// Conditions on exports that need no look at an export's state. An empty set is no condition.
pub struct ExportQuery<'a> {
    pub connection_ids: &'a BTreeSet<String>,
    /// External ids of the connection.
    pub external_ids: &'a BTreeSet<String>,
    /// Only exports that changed after this position.
    pub after_position: Position,
    /// Deadlines of links that still work. `None` if any export will do.
    pub deadlines: Option<RangeInclusive<Timestamp>>,
}

/// An export that may match. Its state may have to be read from disk: see [`Views::load`].
pub struct ExportCandidate(ExportSlot);

impl ExportCandidate {
    /// Returns the position of its last change.
    pub fn changed_at(&self) -> Position {
        self.0.position()
    }

    /// Returns the end of its links. `None` if it has none, or if its links are dead.
    pub fn deadline(&self) -> Option<Timestamp> {
        match &self.0 {
            ExportSlot::Open(export) => export.deadline,
            ExportSlot::Settled(_) => None,
        }
    }
}

impl ExportQuery<'_> {
    /// Returns whether the candidate alone leaves a match possible. The links of a settled export are dead, so a query by
    /// deadlines excludes it.
    pub fn may_match(&self, candidate: &ExportCandidate) -> bool {
        let is_open = matches!(candidate.0, ExportSlot::Open(_));
        candidate.changed_at() > self.after_position && (self.deadlines.is_none() || is_open)
    }

    /// Returns the connections that a matching export must belong to. `None` if there are too many, or if any
    /// connection will do.
    fn owners(&self, views: &Views, realm: &Realm) -> Option<Vec<Id>> {
        if !self.connection_ids.is_empty() {
            return Some(self.connection_ids.iter().map(|id| Id::find(id)).collect());
        }
        if self.external_ids.is_empty() {
            return None;
        }
        let connections = self.external_ids.iter().flat_map(|id| views.connections_of(realm, id, None));
        let owners: Vec<_> = connections.map(|(id, _)| id).take(OWNERS_MAX + 1).collect();
        (owners.len() <= OWNERS_MAX).then_some(owners)
    }
}

impl Views {
    /// Returns the connections with one of these external ids, after an id, in order. All connections if there are no
    /// external ids.
    pub fn find_connections(
        &self,
        realm: &Realm,
        external_ids: &BTreeSet<String>,
        after: Option<Id>,
    ) -> Box<dyn Iterator<Item = (Id, Arc<Connection>)>> {
        if external_ids.is_empty() {
            return Box::new(self.connections(realm, after));
        }
        let runs = external_ids.iter().map(|external_id| self.connections_of(realm, external_id, after.clone()));
        Box::new(IdMerge::new(runs))
    }

    /// Returns all exports after a task that may match, in order. [`ExportQuery::may_match`] excludes some of them.
    pub fn find_exports(
        &self,
        realm: &Realm,
        query: &ExportQuery<'_>,
        after: Option<Id>,
    ) -> Box<dyn Iterator<Item = (Id, ExportCandidate)>> {
        let candidate = |(id, slot)| (id, ExportCandidate(slot));
        if let Some(owners) = query.owners(self, realm) {
            let runs = owners.into_iter().map(|owner| self.exports_of(realm, owner, after.clone()));
            // An export that has moved from one owner to another may come with both.
            let mut last = None;
            let is_new = move |(id, _): &(Id, _)| last.replace(id.clone()).as_ref() != Some(id);
            return Box::new(IdMerge::new(runs).filter(is_new).map(|(id, member)| (id, ExportCandidate(member.slot))));
        }
        if let Some(deadlines) = &query.deadlines {
            return Box::new(self.exports_settling(realm, deadlines, after.as_ref()).map(candidate));
        }
        Box::new(self.exports(realm, after).map(candidate))
    }

    /// Returns the export of a candidate, with its connection. May read the change log, which blocks.
    pub fn load(&self, realm: &Realm, task_id: &Id, candidate: &ExportCandidate) -> Result<JoinedExport, ReadError> {
        self.join(realm, task_id, &candidate.0)
    }
}

/// Merge of several runs, each in the order of ids, into one.
struct IdMerge<T, I> {
    runs: Vec<I>,
    /// Id of the next item of each run that has one, the smallest id on top.
    heads: BinaryHeap<Reverse<(Id, usize)>>,
    waiting: Vec<Option<(Id, T)>>,
}

impl<T, I: Iterator<Item = (Id, T)>> IdMerge<T, I> {
    fn new(runs: impl Iterator<Item = I>) -> Self {
        let runs: Vec<I> = runs.collect();
        let waiting = runs.iter().map(|_| None).collect();
        let mut merge = Self { runs, heads: BinaryHeap::new(), waiting };
        for run in 0..merge.runs.len() {
            merge.draw(run);
        }
        merge
    }

    fn draw(&mut self, run: usize) -> Option<(Id, T)> {
        let next = self.runs.get_mut(run)?.next();
        if let Some((id, _)) = &next {
            self.heads.push(Reverse((id.clone(), run)));
        }
        std::mem::replace(self.waiting.get_mut(run)?, next)
    }
}

impl<T, I: Iterator<Item = (Id, T)>> Iterator for IdMerge<T, I> {
    type Item = (Id, T);

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((_, run)) = self.heads.pop()?;
        self.draw(run)
    }
}
