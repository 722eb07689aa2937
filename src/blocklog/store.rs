//! The seam under a block log: what it asks of the disk, and nothing more.
//!
//! One production implementation (`sled_store`); tests put a double over it that fails the n-th operation.

use std::sync::Arc;

use super::block::{Entry, Key};

/// Values that become visible together, and durable together; each new, or in the place of one that it holds all of.
#[derive(Debug, Default)]
pub struct Batch {
    pub puts: Vec<Entry>,
}

impl Batch {
    pub fn bytes(&self) -> usize {
        self.puts.iter().map(|(_, value)| value.len()).sum()
    }
}

/// What the disk said. Cheap to clone: every waiter is told.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation}: {reason}")]
pub struct StoreError {
    /// What was tried, as in "cannot ...".
    pub operation: Arc<str>,
    pub reason: Arc<str>,
    /// What was read is not what was written. Otherwise the disk or the system refused, and may not do so again.
    pub is_damage: bool,
}

impl StoreError {
    pub fn new(operation: impl Into<Arc<str>>, reason: impl std::fmt::Display) -> Self {
        Self { operation: operation.into(), reason: reason.to_string().into(), is_damage: false }
    }

    pub fn damage(operation: impl Into<Arc<str>>, reason: impl std::fmt::Display) -> Self {
        Self { is_damage: true, ..Self::new(operation, reason) }
    }
}

/// Ordered values on a disk.
///
/// After any error the store is done for writing: whether the failed write is on the disk is unknown for ever.
pub trait Store: Send + Sync + 'static {
    /// Makes the batch visible to reads; durable only after `sync`. A crash before that leaves all of it, none of it, or,
    /// if it only adds whole blocks, the first few of them.
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Everything applied before is on stable storage when this returns.
    fn sync(&self) -> Result<(), StoreError>;

    fn get(&self, key: Key) -> Result<Option<Vec<u8>>, StoreError>;

    /// The entry with the greatest key that is not above `key`.
    fn floor(&self, key: Key) -> Result<Option<Entry>, StoreError>;
}
