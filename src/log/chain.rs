//! The hash chain: every event commits to all before it.
//!
//! ```text
//! h(0) = SHA-256("cleat log 1" ‖ log id)
//! h(n) = SHA-256(h(n-1) ‖ u64 n ‖ i64 recorded_at, µs ‖ SHA-256(rest of n's canonical header ‖ SHA-256(nonce ‖ body)))
//! ```
//!
//! Over canonical bytes, never compressed ones, so blocks can be merged and recompressed; and over the body's digest,
//! so a body can be erased one day with order, positions and chain intact. What the writer does not assign is hashed before
//! it, on the caller's core.

use sha2::{Digest, Sha256};

use crate::event::{Hash, Position, Timestamp};

/// The value before the first event.
pub(super) fn genesis(log_id: u128) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(b"cleat log 1");
    hasher.update(log_id.to_be_bytes());
    hasher.finalize().into()
}

/// What the chain holds of a delivery, its header encoded. The nonce keeps a guessable body from being confirmed by its digest.
pub(super) fn content(header: &[u8], nonce: &[u8; 16], body: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(nonce);
    hasher.update(body);
    let body = hasher.finalize_reset();
    hasher.update(header);
    hasher.update(body);
    hasher.finalize().into()
}

pub(super) fn next(before: &Hash, position: Position, recorded_at: Timestamp, content: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(position.to_be_bytes());
    hasher.update(recorded_at.as_micros().to_be_bytes());
    hasher.update(content);
    hasher.finalize().into()
}
