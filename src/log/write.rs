//! The way of a record into the log: queue, order, time, decision about its key, commit. One thread writes.

mod append;
pub mod applier;
mod batch;
mod clock;
mod commit;
mod poison;
mod sequencer;

pub use append::{AppendError, AppendOutcome, Appended, Appender, Enqueued, OrderedDeliveries, WeakAppender};
pub use clock::{ClockError, ClockGuard, ClockReading, DatedEvidence, TimeEvidence, TimeSource};
pub use commit::Committer;
pub use poison::{Poison, Watchman};
pub use sequencer::Sequencer;
