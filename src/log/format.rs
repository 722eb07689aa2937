//! The bytes of a record: what the door makes of a delivery, and what a frame holds of it. Knows nothing of files, journals and
//! dedup.
//!
//! ```text
//! delivery ─▶ header + private bytes = Record ─▶ FrameBuilder ─▶ frame ─▶ records ─▶ StoredRecord ─▶ event
//! ```
//!
//! All that could say whom a record is about is in its private bytes, which are made once, at the door, and from then on
//! copied. The chain holds only their digest: so it can be checked without a key and without expanding anything, and they can
//! be erased.

mod chain;
mod columns;
mod date;
mod dictionary;
mod erased;
mod frames;
pub mod fuzzing;
mod header;
mod packing;
mod private;
mod record;
#[cfg(test)]
mod tests;
mod varint;

pub(in crate::log) use chain::genesis;
pub(in crate::log) use columns::Row;
pub(in crate::log) use erased::ErasedPayload;
pub(in crate::log) use frames::{FrameBuilder, Listing, StoredRecord, records};
pub(in crate::log) use record::Record;
