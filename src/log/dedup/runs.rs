//! Dedup runs on disk: the event keys that a range of positions claimed, as immutable sorted files with a filter in
//! memory. Derived from the log, and never of more than one epoch. Knows nothing of how keys are claimed and when runs
//! are made: that is the owner's business.
//!
//! ```text
//! <data>/dedup/<after>-<through>.run   covers positions after + 1 to through. Numbers are big-endian. All up to the
//!             footer is in pages of 4096 B.
//!
//! run         header page ‖ partitions ‖ footer ‖ tail
//! header      "cdr" ‖ u8 format 3 ‖ log id, 16 B ‖ epoch, 16 B ‖ u32 generation of the log secret
//!             ‖ u8 fingerprint version ‖ u64 after ‖ u64 through ‖ chain at through, 32 B ‖ i64 recorded_at there, µs
//!             ‖ u64 keys ‖ u32 CRC32C of all before ‖ zeros. A later format keeps the first 4 and the length up to the CRC.
//! partition   up to 7436 blocks (1,048,476 keys) ‖ filter ‖ zeros. All blocks but the run's last are full.
//! block       u16 entries, up to 141 ‖ entries × (digest, 16 B ‖ position, 5 B ‖ fingerprint, 8 B) ‖ zeros
//!             ‖ u32 CRC32C of all before. Entries rise by digest, through the whole run.
//! filter      u64 seed ‖ u32 segment length ‖ u32 segments ‖ (segments + 2) × segment length × u16 print
//!             ‖ u32 CRC32C of all before. `filter.rs` defines its answers.
//! footer      partitions × (u64 first prefix ‖ u32 first block ‖ u32 blocks ‖ u32 bytes of the filter)
//!             ‖ blocks × u64 prefix of its first digest. A prefix is the first 8 bytes of a digest.
//! tail        u64 offset of the footer ‖ u32 partitions ‖ u32 blocks ‖ u32 CRC32C of the footer and
//!             the tail before ‖ "cdrend"
//! ```
//!
//! Formats 1 and 2 were flat files, `<through>.run`. They are rebuilt from the log.

mod block;
mod filter;
mod footer;
mod header;
mod load;
mod merge;
mod pieces;
mod run;
mod set;
mod span;
#[cfg(test)]
mod tests;
mod tiers;
mod writer;

pub(in crate::log) use header::RunHeader;
pub(in crate::log) use load::{LoadError, Loaded, load, prepare, remove};
pub(in crate::log) use merge::{MergeError, merge};
pub(in crate::log) use run::{DedupRun, DedupRunError, UnusableRun};
pub(in crate::log) use set::{Overlap, RunSet};
pub(in crate::log) use span::Span;
pub(in crate::log) use tiers::due;
pub(in crate::log) use writer::{WriteRunError, write};
