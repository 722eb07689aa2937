//! Reasons why a log cannot be opened.

use std::ops::RangeInclusive;

use crate::event::Position;
use crate::log::files::{FileError, layout};
use crate::log::journal::RecoverError;
use crate::storage::StoreError;

/// Reason why a log cannot be opened. A refusal changes nothing on disk but the lock file. An I/O error may come after
/// a part of the repairs.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
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
    Init(#[from] layout::InitError),
    #[error(transparent)]
    Segment(#[from] crate::segment::SegmentError),
    #[error(transparent)]
    Recover(#[from] RecoverError),
    #[error(transparent)]
    Locked(#[from] layout::LockError),
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
