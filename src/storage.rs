//! The building blocks of every format on disk: bytes in and out, compression, the seal of private bytes, files that
//! appear whole, the pace of writing them, and the space that is left. Must not know any format.

use std::io;
use std::sync::Arc;

mod atomic_file;
mod codec;
mod compression;
mod disk_space;
mod pacing;
mod private_codec;

pub use atomic_file::{sweep, write_private, write_whole};
pub use codec::{DecodeError, Put, Take};
pub use compression::{Compression, Contexts, Dictionary, PLAIN};
pub use disk_space::free_space;
pub use pacing::{AtOnce, PIECE_BYTES, Pace, Pacer};
pub use private_codec::{seal, unseal};

/// Error of the disk or the system. Cheap to clone: every waiter gets it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation}: {fault}")]
pub struct StoreError {
    /// Operation that was tried, as in "cannot ...".
    pub operation: Arc<str>,
    pub fault: StoreFault,
}

/// Cause of a [`StoreError`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreFault {
    /// The system refused, and may not do so again.
    #[error(transparent)]
    Io(#[from] Arc<io::Error>),
    /// The bytes read are not the bytes written.
    #[error("{0}")]
    Damaged(Arc<str>),
    /// Neither: a thread has ended, a limit is reached, a library failed.
    #[error("{0}")]
    Failed(Arc<str>),
}

impl StoreError {
    pub fn new(operation: impl Into<Arc<str>>, fault: impl Into<StoreFault>) -> Self {
        Self { operation: operation.into(), fault: fault.into() }
    }

    pub fn is_damage(&self) -> bool {
        matches!(self.fault, StoreFault::Damaged(_))
    }
}

impl From<io::Error> for StoreFault {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<&str> for StoreFault {
    fn from(reason: &str) -> Self {
        Self::Failed(reason.into())
    }
}
