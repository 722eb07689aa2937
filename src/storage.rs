//! The building blocks of every format on disk: bytes in and out, compression, the seal of private bytes, files that
//! appear whole, the pace of writing them, and the space that is left. Must not know any format.

use std::fmt::Display;
use std::sync::Arc;

mod atomic_file;
mod codec;
mod compression;
mod disk_space;
mod pacing;
mod sealing;

pub use atomic_file::{sweep, write_private, write_whole};
pub use codec::{DecodeError, Put, Take};
pub use compression::{Compression, Contexts, Dictionary, PLAIN};
pub use disk_space::free_space;
pub use pacing::{AtOnce, PIECE_BYTES, Pace, Pacer};
pub use sealing::{seal, unseal};

/// Error that the disk reported. Cheap to clone: every waiter gets it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation}: {reason}")]
pub struct StoreError {
    /// Operation that was tried, as in "cannot ...".
    pub operation: Arc<str>,
    pub reason: Arc<str>,
    /// Whether the bytes read are not the bytes written. If not, the disk or the system refused, and may not do so
    /// again.
    pub is_damage: bool,
}

impl StoreError {
    pub fn new(operation: impl Into<Arc<str>>, reason: impl Display) -> Self {
        Self { operation: operation.into(), reason: reason.to_string().into(), is_damage: false }
    }

    pub fn damage(operation: impl Into<Arc<str>>, reason: impl Display) -> Self {
        Self { is_damage: true, ..Self::new(operation, reason) }
    }
}
