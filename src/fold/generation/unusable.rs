//! Owns the reasons why a checkpoint cannot be used. Knows no format.

use std::io;

use crate::segment::SegmentError;
use crate::storage::{DecodeError, StoreFault};

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
}

impl From<Unusable> for StoreFault {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Io(error) => error.into(),
            Unusable::ChangeLog(SegmentError::Io { source, .. }) => source.into(),
            other => other.to_string().as_str().into(),
        }
    }
}
