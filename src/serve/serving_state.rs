//! Serving state: the requests that the daemon can answer now. The composition root sets it; requests, watches and
//! health follow. Knows nothing of the log and the views.

use std::sync::Arc;

use crate::event::Position;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServingState {
    /// The views do not yet cover everything that was durable at the start, or when they started again.
    CatchingUp {
        of: Position,
    },
    Serving,
    /// A commit failed: nothing is accepted, and reads go on for a while. `ShuttingDown` follows.
    ReadOnly {
        reason: Arc<str>,
    },
    /// The views cannot pass the event at `position`: queries of the state are refused, and events are accepted and
    /// read. The views are retried.
    Stalled {
        position: Position,
        reason: Arc<str>,
    },
    /// The log cannot be read to its end, so the state is not known. Reading is retried.
    Damaged {
        reason: Arc<str>,
    },
    /// Watches end, and nothing new begins. Final.
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
