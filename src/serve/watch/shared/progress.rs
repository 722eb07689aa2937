//! Progress of a watch.

use crate::event::{Hash, Position};
use crate::fold::Views;
use crate::token::{ChainPrefix, chain_prefix};

/// Progress of a watch: everything up to here has been sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub position: Position,
    pub chain: ChainPrefix,
}

impl Cursor {
    /// Marker inside a snapshot. Resuming from it starts again, with a snapshot.
    pub const NOTHING: Cursor = Cursor { position: 0, chain: [0xff; 8] };
    /// Progress before the first event.
    pub const BEGINNING: Cursor = Cursor { position: 0, chain: [0; 8] };

    /// Returns the progress at a position. `chain` is the hash chain's value there.
    pub fn new(position: Position, chain: &Hash) -> Self {
        Self { position, chain: chain_prefix(chain) }
    }

    pub fn of(views: &Views) -> Self {
        Self::new(views.position(), &views.chain())
    }
}
