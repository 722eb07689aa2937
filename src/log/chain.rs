//! The hash chain: every event commits to all before it.
//!
//! ```text
//! h(0) = SHA-256("cleat log 1" ‖ log id)
//! h(n) = SHA-256(h(n-1) ‖ canonical header of n ‖ SHA-256(nonce ‖ body))
//! ```
//!
//! Over canonical bytes, never compressed ones, so blocks can be merged and recompressed; and over the body's digest,
//! so a body can be erased one day with order, positions and chain intact.

use sha2::{Digest, Sha256};

use crate::event::{Delivery, Hash};

/// The value before the first event.
pub(super) fn genesis(log_id: u128) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(b"cleat log 1");
    hasher.update(log_id.to_be_bytes());
    hasher.finalize().into()
}

/// What the chain holds of a body. The nonce keeps a guessable body from being confirmed by its digest.
pub(super) fn commitment(delivery: &Delivery) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(delivery.nonce);
    hasher.update(&delivery.body);
    hasher.finalize().into()
}

pub(super) fn next(before: &Hash, header: &[u8], commitment: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(header);
    hasher.update(commitment);
    hasher.finalize().into()
}
