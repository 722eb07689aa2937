//! Points of the log that its parts report to each other and to readers.

use std::sync::Arc;

use super::journals::NoRoom;
use crate::event::{Hash, Position, Timestamp};

/// Last durable position. Position 0 if the log is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub position: Position,
    /// Hash chain value at `position`.
    pub chain: Hash,
    /// Time at which that event was recorded.
    pub recorded_at: Timestamp,
}

/// Counts of one commit, for [`Options::on_commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    pub events: u64,
    /// Bytes stored, after compression.
    pub bytes: u64,
    /// Time that it took to make the commit durable, in microseconds of the log's clock.
    pub micros: u64,
    pub head: Head,
}

/// State of the writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Writable,
    /// Appends are refused for now. The state ends on its own.
    Refusing(NoRoom),
    /// A commit failed, for this reason. Final: only a restart, which recovers, ends it.
    Failed(Arc<str>),
}
