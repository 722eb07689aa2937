//! The fold: the state of connections and exports after the events up to a position, and how that state came about. It
//! must not know gRPC, HTTP, or how the log is stored.
//!
//! ```text
//!   log ─▶ intake ───────▶ apply(state, event) ─▶ changes ─┬─▶ change log (segments) ─▶ history, settled exports
//!                              ▲                           └─▶ state, ring ─▶ Views (one position) ─▶ queries, watches
//!                              └── state, past                      └─▶ checkpoints, from which a start resumes
//! ```
//!
//! - `apply` is pure and total: no clock, no configuration. It never fails and never panics, whatever body was signed.
//!   Entries that the state keeps only by position come from the past, which never changes.
//! - An event changes a connection only if its own body names it. Then the connection's version grows by one.
//! - Entities are shared and never changed: a [`Views`] shows one position as long as it exists.
//! - All files are derived: a damaged or missing file is rebuilt from the log.

mod changes;
mod engine;
mod entities;
mod format;
mod generation;
mod history;
mod intake;
mod projector;
mod query;
mod rebuild;
mod state;
#[cfg(test)]
mod tests;
mod views;

pub use changes::{ChangeRange, Disposition};
pub use engine::Fold;
pub use entities::{
    Change, Connection, EventRef, Export, ExportStatus, Id, JoinedExport, Lineage, PositionChanges, Realm, Status,
};
pub use format::FOLD_VERSION;
pub use generation::seen;
pub use history::Moment;
pub use projector::{Projection, ProjectionOptions, ProjectionPhase, SEGMENT_BYTES, spawn};
pub use query::{ExportCandidate, ExportQuery};
pub use rebuild::Rebuild;
pub use views::Views;
