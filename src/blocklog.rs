//! A block log: adjacent records as compressed values in sled, found by position. The change log of the views is one.
//!
//! ```text
//!   Packer ── records ─▶ Builder ── values ─▶ Store: apply, sync ◀── read ── whoever seeks a position
//! ```
//!
//! - What a record means, and what its chain commits to, is its owner's business: here it is bytes with a position, a time and
//!   a hash.
//! - No value is so large that sled would make a file of it, which it never syncs.
//! - Only `sled_store.rs` names sled.

mod block;
mod fences;
mod packer;
mod read;
mod resettle;
mod sled_store;
mod store;

pub use block::{Block, Builder, EXPANDED_BYTES_MAX, Entry, Key};
pub use packer::Packer;
pub use read::{ReadError, last_position, read};
pub use sled_store::{SledFiles, SledStore, patiently};
pub use store::{Batch, Store, StoreError};
