//! The log: one gapless, durable, hash-chained sequence of events. It is the only record of them.
//!
//! ```text
//!   Appender ═bounded queue═▶ Sequencer: order, time, frames ─▶ Journal: durable ─▶ witness ─▶ HandOver, head ─▶ answer
//!      │                       └ Applier: new, duplicate, conflict    │ full
//!      └─▶ KeyIndex: runs ◀── Keeper                                  ▼
//!   Reader ◀── FrameStore: sealed segments on disk, unsealed    ◀── Sealer: segments, merges
//!              frames in memory
//! ```
//!
//! - An append returns a position only when the event is on stable storage: `fdatasync` has returned.
//! - One (tenant, event key) has one position, permanently. A duplicate is answered with the position of the first
//!   event. A duplicate that conflicts with the first event, by its fingerprint, is stored as well, once.
//! - A journal is written in one process lifetime only. The next start reads its file, without sled.
//! - After a failed commit nothing is acknowledged any more ([`Log::health`] gives the reason). Reads go on.
//! - The log must not know HTTP, gRPC, or the meaning of a body.

mod append;
mod applier;
mod assembly;
mod clock;
mod commit;
mod dedup;
mod files;
mod format;
mod frame_store;
mod hand_over;
mod inspect;
mod journal;
mod journals;
mod open;
mod poison;
mod reader;
mod sealer;
mod sequencer;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use crate::event::{Hash, Position, Timestamp};

pub use crate::segment::ReadError;
pub use crate::storage::StoreError;

pub use append::{AppendError, Appended, Appender, Enqueued, Sequence, WeakAppender};
pub use clock::{ClockError, DatedEvidence, Reading, TimeEvidence, TimeSource};
pub use dedup::DedupSize;
pub use files::layout::Fresh;
pub use hand_over::{HandOver, Taken};
pub use inspect::{InspectedJournal, InspectedSegment, Inspection, ReadOnlyLog, open_read_only};
pub use journals::NoRoom;
pub use open::{Log, Options, Seen, find, init, open};
pub use reader::{EventHeader, Reader, Selection, Tail};

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
    Failed(std::sync::Arc<str>),
}

/// Entry points for the fuzzer and the benchmarks. No interface.
#[doc(hidden)]
pub mod fuzzing {
    pub use super::format::fuzzing::{events, framed, opened, prepared, recorded, repacked, unchained, unpacked};
    pub use super::journal::fuzzing::{journal_values, recovered};
}

/// Reason why a log cannot be opened. A refusal changes nothing on disk but the lock file. An I/O error may come after
/// a part of the repairs.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] files::FileError),
    #[error("there is no log: {found}")]
    NoLog { found: String },
    #[error(
        "there is no log: {found}. Mount the volume that has it, or restore a backup; to begin a new log, run `cleat init`, \
         or set data.create = true"
    )]
    NotCreated { found: String },
    #[error(
        "there is no log, but the anchor ({anchor}) {says}. Mount the volume that has it, or restore a backup; to begin a new \
         log, remove the anchor"
    )]
    Anchored { anchor: String, says: String },
    #[error("cannot create a log")]
    Init(#[from] files::layout::InitError),
    #[error(transparent)]
    Segment(#[from] crate::segment::SegmentError),
    #[error(transparent)]
    Recover(#[from] journal::RecoverError),
    #[error(transparent)]
    Locked(#[from] files::layout::LockError),
    #[error("{} is missing: put back the newest copy of the whole data directory", .0.display())]
    Missing(std::path::PathBuf),
    #[error("the file {file} is lost, and no other file says which log this is: restore it from a backup")]
    Nameless { file: &'static str },
    /// Acknowledged events are missing or damaged.
    #[error(
        "events {} to {} are missing or damaged: {reason}. Restore a backup that has them", .range.start(), .range.end()
    )]
    Damaged { range: RangeInclusive<Position>, reason: String },
    #[error(
        "the log ends at position {ends}, but {by} has seen {seen}: a part of the data was lost, or put back from an older \
         copy. Put back the newest copy of the whole data directory"
    )]
    Shorter { ends: Position, seen: Position, by: String },
    #[error(
        "the event at position {position} is not the one that {by} has seen: the data directory has parts of two histories. \
         Put back a copy of the whole data directory"
    )]
    OtherHistory { position: Position, by: String },
    #[error(
        "{what} is of another log: the data directory has parts of two. Put back a copy of the whole data directory"
    )]
    Foreign { what: String },
    #[error("the anchor ({anchor}) is of another log: give data.anchor a file of its own, or remove this one")]
    ForeignAnchor { anchor: String },
    #[error("{what} has format {format}, which a newer version of cleat wrote: run that version")]
    Newer { what: String, format: u32 },
    #[error("cannot start the log's threads")]
    Thread(#[from] std::io::Error),
}
