//! Owns the reasons why a checkpoint cannot be used. Knows no format.

use std::io;

use crate::segment::SegmentError;
use crate::storage::{DecodeError, StoreError};

/// Reason why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    DecodeError(#[from] DecodeError),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    History(&'static str),
    #[error("its change log cannot be used: {0}")]
    ChangeLog(#[source] SegmentError),
}

impl Unusable {
    /// Returns whether the content makes the checkpoint useless. An error of the system says nothing about the content:
    /// the checkpoint is as good as before.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Io(error) => error.raw_os_error().is_none(),
            Self::ChangeLog(SegmentError::Io { .. }) => false,
            Self::DecodeError(_) | Self::History(_) | Self::ChangeLog(_) => true,
        }
    }

    /// Converts the error for the projector. `checkpoint` names the file.
    pub fn into_store_error(self, checkpoint: &str) -> StoreError {
        match self {
            Self::ChangeLog(SegmentError::Io { operation, path, source }) => {
                let operation = format!("use the checkpoint {checkpoint}: cannot {operation} {}", path.display());
                StoreError::new(operation, source)
            }
            Self::Io(error) => StoreError::new(format!("read the checkpoint {checkpoint}"), error),
            other => StoreError::new(format!("use the checkpoint {checkpoint}"), other.to_string().as_str()),
        }
    }
}
