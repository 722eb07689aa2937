//! The log: one gapless, durable, hash-chained sequence of events. It is the only record of them.
//!
//! ```text
//!   Appender ═bounded queue═▶ Sequencer: order, time, frames ─▶ Journal: durable ─▶ witness ─▶ HandOver, head ─▶ answer
//!      │                       └ Applier: new, duplicate, conflict    │ full
//!      └─▶ KeyIndex: runs ◀── Keeper                                  ▼
//!   Reader ◀── FrameStore: sealed segments on disk, unsealed    ◀── Sealer: segments, merges
//!              frames in memory
//! ```
//!
//! - An append returns a position only when the event is on stable storage: `fdatasync` has returned.
//! - One (tenant, event key) has one position, permanently. A duplicate is answered with the position of the first
//!   event. A duplicate that conflicts with the first event, by its fingerprint, is stored as well, once.
//! - A journal is written in one process lifetime only. The next start reads its file, without sled.
//! - After a failed commit nothing is acknowledged any more ([`Log::health`] gives the reason). Reads go on.
//! - The log must not know HTTP, gRPC, or the meaning of a body.

mod dedup;
mod files;
mod format;
mod frame_store;
mod hand_over;
mod inspect;
mod journal;
mod journal_rotation;
mod open;
mod reader;
mod sealer;
#[cfg(test)]
mod tests;
mod write;
mod writer_state;

pub use crate::segment::ReadError;
pub use crate::storage::StoreError;

pub use dedup::DedupSize;
pub use files::layout::NewLog;
pub use hand_over::{HandOver, HandedOver};
pub use inspect::{InspectedJournal, InspectedSegment, Inspection, ReadOnlyLog, open_read_only};
pub use journal_rotation::NotAccepting;
pub use open::{Log, LogOptions, OpenError, SeenPoint, find, init, open};
pub use reader::{EventHeader, Reader, Selection, Tail};
pub use write::{
    AppendError, AppendOutcome, Appended, Appender, ClockError, ClockReading, DatedEvidence, Enqueued,
    OrderedDeliveries, TimeEvidence, TimeSource, WeakAppender,
};
pub use writer_state::{Commit, Health};

/// Entry points for the fuzzer and the benchmarks. No interface.
#[doc(hidden)]
pub mod fuzzing {
    pub use super::format::fuzzing::{events, framed, opened, prepared, recorded, repacked, unchained, unpacked};
    pub use super::journal::fuzzing::{journal_values, recovered};
}
