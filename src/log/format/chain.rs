//! Hash chain: each record commits to all before it. Knows only the digest of a record's content. Kept apart: a verifier
//! of logs needs this definition and nothing else.
//!
//! ```text
//! h(0) = SHA-256("cleat log 2" ‖ log id)
//! h(n) = SHA-256(h(n-1) ‖ u64 n ‖ i64 recorded_at, µs ‖ u64 first position that n conflicts with, 0: none ‖ content)
//! ```
//!
//! `header.rs` defines the content. The writer assigns position, time and conflict, so they are bound only here.

use sha2::{Digest as _, Sha256};

use crate::event::{Hash, Position, Timestamp};

/// Returns the chain value before the first record.
pub(in crate::log) fn genesis(log_id: u128) -> Hash {
    Sha256::new().chain_update(b"cleat log 2").chain_update(log_id.to_be_bytes()).finalize().into()
}

/// Returns the chain value after a record.
pub(in crate::log) fn next(
    before: &Hash,
    position: Position,
    recorded_at: Timestamp,
    conflict_of: Option<Position>,
    content: &Hash,
) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(position.to_be_bytes());
    hasher.update(recorded_at.as_micros().to_be_bytes());
    hasher.update(conflict_of.unwrap_or(0).to_be_bytes());
    hasher.update(content);
    hasher.finalize().into()
}
