//! What the daemon can do now. The composition root sets it; requests, watches and health follow.

use std::sync::Arc;

use crate::event::Position;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServingState {
    /// The views do not yet tell what was durable at the start. Then: serving, damaged, shutting down.
    CatchingUp { of: Position },
    /// Then: any of those below.
    Serving,
    /// A commit failed: nothing is accepted, reads go on for a while. Then: shutting down.
    ReadOnly { reason: Arc<str> },
    /// The log can't be read to its end: what the state is can't be told. Then: shutting down.
    Damaged { reason: Arc<str> },
    /// Watches end, nothing new begins. Final.
    ShuttingDown,
}

impl ServingState {
    /// Whether queries of the state are answered.
    pub fn answers(&self) -> bool {
        matches!(self, Self::Serving | Self::ReadOnly { .. })
    }

    /// Whether what goes on now must end.
    pub fn ends_watches(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::ShuttingDown)
    }
}
