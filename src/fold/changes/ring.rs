//! Owns the newest changes in a bounded ring, for readers that follow. Knows no state and no file.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{Cursor, Position};
use crate::fold::entities::PositionChanges;

/// A run of changes, for readers that follow: all after one position, up to another.
#[derive(Debug)]
pub struct ChangeRange {
    pub changes: Vec<Arc<PositionChanges>>,
    /// Place up to which every change is included.
    pub through: Cursor,
}

/// Approximate memory that the changes of a ring may keep alive. A single change can be much larger than others.
const BYTES_MAX: usize = 64 * 1024 * 1024;

impl ChangeRange {
    /// Returns the approximate memory of its changes if they share none with a state.
    pub fn bytes(&self) -> usize {
        self.changes.iter().map(|changes| 2 * changes.weight()).sum()
    }
}

struct RingEntry {
    changes: Arc<PositionChanges>,
    weight: usize,
}

pub struct Ring {
    newest: VecDeque<RingEntry>,
    len_max: usize,
    bytes: usize,
    floor: Position,
}

impl Ring {
    /// Creates an empty ring, for changes after `floor`.
    pub fn after_position(floor: Position, len_max: usize) -> Self {
        Self { newest: VecDeque::new(), len_max, bytes: 0, floor }
    }

    /// Returns the position after which every change is in the ring.
    pub fn floor(&self) -> Position {
        self.floor
    }

    /// Adds the changes of the newest position. `weight`: see [`PositionChanges::weight`].
    pub fn push(&mut self, changes: Arc<PositionChanges>, weight: usize) {
        self.bytes += weight;
        self.newest.push_back(RingEntry { changes, weight });
    }

    /// Returns the oldest position if the ring is over its bounds.
    pub fn surplus(&self) -> Option<Position> {
        let is_over = self.newest.len() > self.len_max || self.bytes > BYTES_MAX;
        if is_over { self.oldest() } else { None }
    }

    pub fn oldest(&self) -> Option<Position> {
        self.newest.front().map(|oldest| oldest.changes.position)
    }

    pub fn drop_oldest(&mut self) {
        if let Some(oldest) = self.newest.pop_front() {
            self.bytes -= oldest.weight;
            self.floor = oldest.changes.position;
        }
    }

    /// Returns the changes after a position and up to another, in order, at most `count_max`. `None` if the ring no
    /// longer holds all of them.
    pub fn between(&self, after: Position, to: Cursor, count_max: usize) -> Option<ChangeRange> {
        if after < self.floor {
            return None;
        }
        let start = self.newest.partition_point(|held| held.changes.position <= after);
        let found = self.newest.range(start..).map(|held| &held.changes);
        let changes: Vec<_> =
            found.take_while(|changes| changes.position <= to.position).take(count_max).cloned().collect();
        let through = match changes.last() {
            Some(last) if changes.len() == count_max => last.cursor(),
            _ => to,
        };
        Some(ChangeRange { changes, through })
    }

    pub fn at(&self, position: Position) -> Option<&Arc<PositionChanges>> {
        let found = self.newest.binary_search_by(|held| held.changes.position.cmp(&position)).ok()?;
        self.newest.get(found).map(|held| &held.changes)
    }
}
