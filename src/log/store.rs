//! The seam under the log: what it asks of the disk, and nothing more.
//!
//! One production implementation (`sled_store`); tests put a double over it that fails the n-th operation.

use std::sync::Arc;

use super::block::{Entry, Key};

/// Changes that become visible together, and durable together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub puts: Vec<Entry>,
    pub removes: Vec<Key>,
}

impl Batch {
    pub fn bytes(&self) -> usize {
        self.puts.iter().map(|(_, value)| value.len()).sum()
    }
}

/// The bytes of the head witness.
pub(super) type Mark = [u8; 64];

/// What the disk said. Cheap to clone: every waiter is told.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation}: {reason}")]
pub struct StoreError {
    /// What was tried, as in "cannot ...".
    pub(super) operation: &'static str,
    pub(super) reason: Arc<str>,
}

impl StoreError {
    pub(super) fn new(operation: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { operation, reason: reason.to_string().into() }
    }
}

/// Ordered values on a disk, and the 64 bytes of the head witness beside them.
///
/// After any error the store is done for writing: whether the failed write is on the disk is unknown for ever.
pub(super) trait Store: Send + Sync + 'static {
    /// Makes the batch visible to reads; durable only after `sync`. A crash before that leaves all of it, none of it, or,
    /// if it only adds whole blocks, the first few of them.
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Everything applied before is on stable storage when this returns.
    fn sync(&self) -> Result<(), StoreError>;

    fn get(&self, key: Key) -> Result<Option<Vec<u8>>, StoreError>;

    /// The entry with the greatest key that is not above `key`.
    fn floor(&self, key: Key) -> Result<Option<Entry>, StoreError>;

    /// Overwrites the witness; durable only after `sync_mark`.
    fn mark(&self, mark: &Mark) -> Result<(), StoreError>;

    fn sync_mark(&self) -> Result<(), StoreError>;

    /// The witness as it is, whatever its length; None if none was ever written.
    fn marked(&self) -> Result<Option<Vec<u8>>, StoreError>;
}
