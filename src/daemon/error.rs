//! Reasons why the daemon ends.

use super::fatal::FatalError;
use crate::log::OpenError;
use crate::serve::ServeError;

/// Why the daemon ended other than by a requested, orderly stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot open the log in {directory}")]
    Open { directory: String, source: OpenError },
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    FatalError(#[from] FatalError),
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
    /// Without the message of the panic, which may quote data.
    #[error("{0} panicked")]
    Panicked(&'static str),
    #[error("{0} did not end in time")]
    Cut(&'static str),
}
