//! Dedup index: the event keys of the log, and the position of each. The newest keys are in memory, all others in
//! sorted runs on disk, each with a filter in memory, so a new key costs no read. Knows nothing of the meaning of a
//! body.
//!
//! ```text
//! caller: look up in runs ─▶ queue ─▶ Sequencer: RecentKeys ─▶ full tables ─▶ Keeper: runs, merges, lost runs again
//! ```
//!
//! Keys leave memory only once a run has them and no caller holds an older set of runs. So a caller that looks a key up
//! in a set, and then in memory, misses none. Everything here is derived from the log, and rebuilt from it if it is
//! lost.

mod index;
mod keeper;
pub mod key;
mod lost;
mod recent;
mod runs;

pub use index::DedupSize;
pub(super) use index::{Coverage, KeyIndex, RunView};
pub(super) use keeper::{KeeperOptions, RunKeeper};
pub(super) use key::KeyEntry;
pub(super) use lost::{Collected, collect};
pub(super) use recent::{KeyTable, RecentKeys};
pub(super) use runs::{DedupRunError, LoadError, Loaded, RunSet, Span, UnusableRun, load, prepare, remove};
