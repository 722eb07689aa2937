//! The newest changes, for those who follow: a bounded ring that is part of the same swap as the state.

use std::sync::Arc;

use imbl::Vector;

use super::connection::Connection;
use super::entity::Realm;
use super::export::JoinedExport;
use crate::event::{Hash, Position};

/// One entity before and after an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Connection {
        previous: Option<Arc<Connection>>,
        current: Arc<Connection>,
    },
    /// The export itself may be the same on both sides, and only what a filter sees of its connection another.
    Export {
        previous: Option<JoinedExport>,
        current: JoinedExport,
    },
}

/// All that one position changed; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionChanges {
    pub position: Position,
    /// The hash chain's value there.
    pub chain: Hash,
    /// An event changes one realm only.
    pub realm: Realm,
    pub changes: Vec<Change>,
}

/// What the changes of a ring may keep alive, about: an odd one can be much larger than others.
const BYTES_MAX: usize = 64 * 1024 * 1024;

impl PositionChanges {
    /// What it keeps alive beyond the state itself, about: what was before, and the changes.
    fn weight(&self) -> usize {
        let weight = |change: &Change| match change {
            Change::Connection { previous, .. } => previous.as_ref().map_or(0, |previous| previous.weight()),
            Change::Export { previous: Some(previous), current } if !Arc::ptr_eq(&previous.export, &current.export) => {
                previous.export.weight()
            }
            Change::Export { .. } => 0,
        };
        let own = size_of::<Self>() + self.changes.len() * size_of::<Change>();
        own + self.changes.iter().map(weight).sum::<usize>()
    }
}

/// Cheap to clone; clones share what is equal.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Ring {
    newest: Vector<Arc<PositionChanges>>,
    len_max: usize,
    bytes: usize,
    /// Every change after this position is here.
    floor: Position,
}

impl Ring {
    pub fn new(len_max: usize) -> Self {
        Self { newest: Vector::new(), len_max, bytes: 0, floor: 0 }
    }

    pub fn push(&mut self, changes: PositionChanges) {
        self.bytes += changes.weight();
        self.newest.push_back(Arc::new(changes));
        while (self.newest.len() > self.len_max || self.bytes > BYTES_MAX)
            && let Some(oldest) = self.newest.pop_front()
        {
            self.bytes -= oldest.weight();
            self.floor = oldest.position;
        }
    }

    /// The changes after a position, in order, at most so many. None: they are no longer all here.
    pub fn after(&self, position: Position, count_max: usize) -> Option<Vec<Arc<PositionChanges>>> {
        if position < self.floor {
            return None;
        }
        let found = self.newest.binary_search_by(|changes| changes.position.cmp(&(position + 1)));
        let start = found.unwrap_or_else(|next| next);
        Some((start..self.newest.len()).take(count_max).filter_map(|at| self.newest.get(at).cloned()).collect())
    }

    pub fn at(&self, position: Position) -> Option<&PositionChanges> {
        let found = self.newest.binary_search_by(|changes| changes.position.cmp(&position)).ok()?;
        self.newest.get(found).map(|changes| &**changes)
    }
}
