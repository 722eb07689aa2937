//! What the daemon can do now. The composition root sets it; requests, watches and health follow.

use std::sync::Arc;

use crate::event::Position;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServingState {
    /// The views do not yet cover what was durable at the start, or when they started again.
    CatchingUp {
        of: Position,
    },
    Serving,
    /// A commit failed: nothing is accepted, reads go on for a while. Then: shutting down.
    ReadOnly {
        reason: Arc<str>,
    },
    /// The views cannot pass the event at `position`: queries of the state are refused, events are taken and read. It is tried
    /// again.
    Stalled {
        position: Position,
        reason: Arc<str>,
    },
    /// The log can't be read to its end, so that the state is not known. It is tried again.
    Damaged {
        reason: Arc<str>,
    },
    /// Watches end, nothing new begins. Final.
    ShuttingDown,
}

impl ServingState {
    /// Whether queries of the state are answered.
    pub fn answers(&self) -> bool {
        matches!(self, Self::Serving | Self::ReadOnly { .. })
    }

    /// Whether watches of the state must end.
    pub fn ends_watches(&self) -> bool {
        matches!(self, Self::Stalled { .. }) || self.ends_event_watches()
    }

    /// Whether watches of the log itself must end.
    pub fn ends_event_watches(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::ShuttingDown)
    }
}
