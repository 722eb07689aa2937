//! Owns superseded versions, kept while a pinned snapshot can see them (MVCC). Does not hold the newest versions.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::event::Position;
use crate::fold::entities::{Connection, Export, Id};

/// A version of an entity, with the position at which it came about.
pub trait Version {
    fn position(&self) -> Position;
}

impl Version for Arc<Connection> {
    fn position(&self) -> Position {
        self.lineage.last.position
    }
}

impl Version for Arc<Export> {
    fn position(&self) -> Position {
        self.lineage.last.position
    }
}

pub struct SupersededVersions<T> {
    /// Superseded versions of each entity, in order.
    versions: HashMap<Id, Vec<T>>,
    /// Ids that have superseded versions, in the order of their next check.
    waiting: VecDeque<Id>,
}

impl<T> Default for SupersededVersions<T> {
    fn default() -> Self {
        Self { versions: HashMap::new(), waiting: VecDeque::new() }
    }
}

impl<T: Version> SupersededVersions<T> {
    /// Returns the newest superseded version that is not newer than position `at`.
    pub fn at(&self, id: &Id, at: Position) -> Option<&T> {
        self.versions.get(id)?.iter().rev().find(|version| version.position() <= at)
    }

    /// Keeps `previous`, which the version at position `next` supersedes, if one of the positions in `pinned` can see
    /// it.
    pub fn supersede(&mut self, id: Id, previous: T, next: Position, pinned: &[Position]) {
        if !is_seen(previous.position(), next, pinned) {
            return;
        }
        let versions = self.versions.entry(id.clone()).or_default();
        if versions.is_empty() {
            self.waiting.push_back(id);
        }
        versions.push(previous);
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.versions.values().map(Vec::len).sum()
    }

    /// Drops versions that no position in `pinned` can see. Checks up to `count` ids, those first that have waited
    /// longest. `newest` returns the position of an id's newest version.
    pub fn release(&mut self, newest: impl Fn(&Id) -> Option<Position>, pinned: &[Position], count: usize) {
        for _ in 0..count.min(self.waiting.len()) {
            let Some(id) = self.waiting.pop_front() else { return };
            let Some(versions) = self.versions.get_mut(&id) else { continue };
            let mut next = newest(&id).unwrap_or(Position::MAX);
            let mut seen: Vec<bool> = Vec::with_capacity(versions.len());
            for version in versions.iter().rev() {
                seen.push(is_seen(version.position(), next, pinned));
                next = version.position();
            }
            versions.retain(|_| seen.pop().unwrap_or_default());
            if versions.is_empty() {
                self.versions.remove(&id);
            } else {
                self.waiting.push_back(id);
            }
        }
    }
}

/// Returns whether a version that is current from `from` until `next` is the newest at one of the positions in
/// `pinned`.
fn is_seen(from: Position, next: Position, pinned: &[Position]) -> bool {
    let first = pinned.partition_point(|position| *position < from);
    pinned.get(first).is_some_and(|position| *position < next)
}
