//! Owns the set of pinned snapshot positions. Knows no state.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::event::Position;

#[derive(Clone, Default)]
pub struct Pins(Arc<Mutex<BTreeMap<Position, usize>>>);

/// Pin of one position, which lasts until it is dropped.
pub struct Pin {
    pins: Pins,
    position: Position,
}

impl Pins {
    pub fn pin(&self, position: Position) -> Pin {
        *self.0.lock().entry(position).or_default() += 1;
        Pin { pins: self.clone(), position }
    }

    /// Returns the pinned positions, in order.
    pub fn positions(&self) -> Vec<Position> {
        self.0.lock().keys().copied().collect()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut positions = self.pins.0.lock();
        if let Some(count) = positions.get_mut(&self.position) {
            *count -= 1;
            if *count == 0 {
                positions.remove(&self.position);
            }
        }
    }
}
