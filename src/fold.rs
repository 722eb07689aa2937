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

mod apply;
mod change_lookup;
mod changes;
mod checkpoint;
mod connection;
mod engine;
mod entity;
mod entity_delta;
mod export;
mod generation;
mod history;
mod id;
mod intake;
mod interner;
mod occurrence;
mod packed_text;
mod pins;
mod projector;
mod rebuild;
mod record;
mod recorder;
mod ring;
mod state;
mod superseded;
#[cfg(test)]
mod tests;
mod views;

pub use changes::Disposition;
pub use connection::{Connection, Status};
pub use engine::Fold;
pub use entity::{EventRef, Lineage, Realm};
pub use export::{Export, ExportStatus, JoinedExport};
pub use generation::seen;
pub use history::Moment;
pub use id::Id;
pub use projector::{Phase, Projection, ProjectionOptions, SEGMENT_BYTES, spawn};
pub use rebuild::Rebuild;
pub use ring::{Change, PositionChanges, Stretch};
pub use state::Slot;
pub use views::Views;

/// Version of the fold's results and file formats. It grows whenever the same events give another state, or a file gets
/// another format. Files of an older fold are derived again.
pub const FOLD_VERSION: u16 = 6;
