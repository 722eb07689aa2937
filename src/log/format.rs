//! Bytes of a record: the record that the door makes of a delivery, and the part of it that a frame holds. Knows
//! nothing of files, journals and dedup.
//!
//! ```text
//! delivery ─▶ header + private bytes = Record ─▶ FrameBuilder ─▶ frame ─▶ records ─▶ StoredRecord ─▶ event
//! ```
//!
//! Everything that could reveal whom a record is about is in its private bytes. The door makes them once, and from then
//! on they are only copied. The chain holds only their digest: so it can be checked without a key and without expanding
//! anything, and the private bytes can be erased.

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
