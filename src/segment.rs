//! Segments: immutable files that hold one range of positions, as frames of adjacent records. A segment is written
//! once, read back and verified before it gets its name, and never changed.
//!
//! ```text
//! <first>-<last>.seg     header ‖ frames ‖ footer
//! header  "cleatseg" ‖ u8 format 1 ‖ log id, 16 B ‖ epoch, 16 B ‖ u64 first position ‖ chain before it, 32 B
//!         ‖ u64 source: the sequence of the journal it was sealed from, 0 if it was merged ‖ u8 merges
//!         ‖ u32 CRC32C of all before
//! frame   see `frame.rs`
//! footer  frames × (u64 first position ‖ i64 last recorded_at, µs ‖ u64 offset in the file)
//!         ‖ tail: u32 frames ‖ u64 last position ‖ i64 last recorded_at, µs ‖ chain after it, 32 B
//!                 ‖ SHA-256 of the file up to the tail ‖ u32 CRC32C of the entries and the tail ‖ "cleatend"
//! ```
//!
//! A damaged footer is rebuilt by a walk over the frames. A damaged frame costs only its own range, unless the footer
//! is damaged, too. Must not know the meaning of a record: a frame is bytes with positions, times and a chain.

mod file;
mod footer;
mod frame;
mod gap;
mod growing;
mod header;
mod name;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

use crate::event::Position;
use crate::storage::StoreError;

pub use file::Segment;
pub use frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, Frame, FrameHeader};
pub use gap::Gap;
pub use growing::GrowingSegment;
pub use header::SegmentHeader;
pub use name::SegmentName;
pub use writer::SegmentWriter;

pub use crate::storage::AtOnce;

/// Reason why a segment, or a part of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error("cannot {operation} {}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    /// The bytes read are not the bytes written.
    #[error("{} is damaged from position {from} on: {reason}", path.display())]
    Damaged { path: PathBuf, from: Position, reason: &'static str },
    #[error("{} belongs to another log or another epoch", path.display())]
    Foreign { path: PathBuf },
    #[error("{} has format {format}, which a newer version of cleat wrote", path.display())]
    Newer { path: PathBuf, format: u8 },
    /// The frames given to a writer do not follow each other.
    #[error("a frame does not follow the one before it: {0}")]
    OutOfOrder(&'static str),
}

/// Reason why a position cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("the data from position {from} on is damaged: {reason}")]
    Damaged { from: Position, reason: &'static str },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SegmentError {
    /// Converts the error for readers of a position.
    pub fn at(&self, position: Position) -> ReadError {
        match self {
            Self::Io { operation, path, source } => ReadError::Store(refused(operation, path, source)),
            Self::Damaged { reason, .. } => ReadError::Damaged { from: position, reason },
            Self::Foreign { .. } | Self::Newer { .. } | Self::OutOfOrder(_) => {
                ReadError::Damaged { from: position, reason: "its segment has changed since it was opened" }
            }
        }
    }
}

/// Conversion for writers.
impl From<SegmentError> for StoreError {
    fn from(error: SegmentError) -> Self {
        match &error {
            SegmentError::Io { operation, path, source } => refused(operation, path, source),
            error => Self::new("write a segment", error),
        }
    }
}

fn refused(operation: &str, path: &Path, source: &io::Error) -> StoreError {
    StoreError::new(format!("{operation} {}", path.display()), source)
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SegmentError {
    move |source| SegmentError::Io { operation, path: path.to_owned(), source }
}
