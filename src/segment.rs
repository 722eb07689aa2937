//! Segments: immutable files that hold one range of positions, as frames of adjacent records. A segment is written
//! once, read back and verified before it gets its name, and never changed.
//!
//! ```text
//! <first>-<last>.seg     header ‖ frames ‖ footer
//! header  "cleatseg" ‖ u8 format 1 ‖ log id, 16 B ‖ epoch, 16 B ‖ u64 first position ‖ chain before it, 32 B
//!         ‖ u64 source: the sequence of the journal it was sealed from, 0 if it was merged ‖ u8 merges
//!         ‖ u32 CRC32C of all before
//! frame   see `frame.rs`
//! footer  frames × (u64 first position ‖ i64 last recorded_at, µs ‖ u64 offset in the file)
//!         ‖ tail: u32 frames ‖ u64 last position ‖ i64 last recorded_at, µs ‖ chain after it, 32 B
//!                 ‖ SHA-256 of the file up to the tail ‖ u32 CRC32C of the entries and the tail ‖ "cleatend"
//! ```
//!
//! A damaged footer is rebuilt by a walk over the frames. A damaged frame costs only its own range, unless the footer
//! is damaged, too. Must not know the meaning of a record: a frame is bytes with positions, times and a chain.

mod error;
mod file;
mod footer;
mod frame;
mod gap;
mod growing;
mod header;
mod name;
#[cfg(test)]
mod tests;
mod writer;

pub use error::{ReadError, SegmentError};
pub use file::Segment;
pub use frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, Frame, FrameHeader};
pub use gap::Gap;
pub use growing::GrowingSegment;
pub use header::SegmentHeader;
pub use name::SegmentName;
pub use writer::SegmentWriter;

pub use crate::storage::AtOnce;
