//! Reasons why a segment, or a position in it, cannot be used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::event::Position;
use crate::storage::StoreError;

/// Reason why a segment, or a part of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error("cannot {operation} {}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: Arc<io::Error> },
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
    /// Returns a conversion of the system's error about an operation on a path.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_owned(), source: Arc::new(source) }
    }

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
            error => Self::new("write a segment", error.to_string().as_str()),
        }
    }
}

fn refused(operation: &str, path: &Path, source: &Arc<io::Error>) -> StoreError {
    StoreError::new(format!("{operation} {}", path.display()), source.clone())
}
