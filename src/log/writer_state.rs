//! The writer's state, as it is reported to others.

use std::sync::Arc;

use super::journal_rotation::NotAccepting;
use crate::event::Point;

/// Counts of one commit, for [`LogOptions::on_commit`](super::open::LogOptions::on_commit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    pub events: u64,
    /// Bytes stored, after compression.
    pub bytes: u64,
    /// Time that it took to make the commit durable, in microseconds of the log's clock.
    pub micros: u64,
    pub head: Point,
}

/// State of the writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Writable,
    /// Appends are refused for now.
    Refusing(NotAccepting),
    /// A commit failed, for this reason. Final: only a restart, which recovers, ends it.
    Failed(Arc<str>),
}
