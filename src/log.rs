//! The log: one gapless, durable, hash-chained sequence of events. The only record there is.
//!
//! ```text
//!   Appender ═bounded queue═▶ Writer: dedup, assign positions, encode blocks, make durable, then answer
//!                                                                              └──▶ Head (a watch): durable up to here
//!   Reader ◀── get, read, tail ── never past the head
//! ```
//!
//! - An append that returns a position is on stable storage: `fdatasync` has returned.
//! - One (tenant, event key) has one position for ever; a duplicate is answered with the first. One that tells something else
//!   ([`gist`](crate::event::gist)) is kept beside it, once.
//! - After a failed commit nothing is acknowledged any more ([`Log::health`] says why); reads go on.
//! - Nothing here knows of HTTP, gRPC, or what a body means.

mod append;
mod assembly;
mod chain;
mod clock;
mod commit;
mod conflict;
mod dedup;
mod directory;
mod open;
mod poison;
mod preflight;
mod reader;
mod record;
mod recovery;
#[cfg(test)]
mod tests;
mod witness;
mod writer;

use std::ops::RangeInclusive;

use crate::event::{Event, Hash, Position, Timestamp};

pub use crate::blocklog::{ReadError, StoreError};

pub use append::{AppendError, Appended, Appender, Enqueued, Sequence, WeakAppender};
pub use clock::{ClockError, DatedEvidence, Reading, TimeEvidence, TimeSource};
pub use open::{Log, Options, open};
pub use reader::{Reader, Tail};

/// The last durable position. Position 0: the log is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub position: Position,
    /// The hash chain's value there.
    pub chain: Hash,
    /// When that event was recorded.
    pub recorded_at: Timestamp,
}

impl Head {
    fn of(event: &Event) -> Self {
        Self { position: event.position, chain: event.chain, recorded_at: event.recorded_at }
    }
}

/// What one commit was, for those who count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    pub events: u64,
    /// Stored, compressed.
    pub bytes: u64,
    /// Of making it durable, by the log's clock.
    pub micros: u64,
    pub head: Head,
}

/// What the writer can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Writable,
    /// A commit failed, for this reason. Final: only a restart, which recovers, mends it.
    Failed(std::sync::Arc<str>),
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was acknowledged is not all there. A backup has these events.
    #[error("events {} to {} are missing or damaged: {reason}", .range.start(), .range.end())]
    Damaged { range: RangeInclusive<Position>, reason: String },
    #[error("cannot start the log's threads")]
    Thread(#[from] std::io::Error),
}
