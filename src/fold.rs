//! The fold: what the events up to a position say, as the state of connections and exports, and how that came about.
//!
//! ```text
//!   log ─▶ intake ───────▶ apply(state, event) ─▶ changes ─┬─▶ change log (segments) ─▶ history, what settled
//!                              ▲                           └─▶ state, ring ─▶ Views: one position each ─▶ queries, watches
//!                              └── state, past                      └─▶ checkpoints, from which a start goes on
//! ```
//!
//! - `apply` is pure and total: no clock, no configuration; it never fails and never panics, whatever was signed. What the
//!   state keeps only by position it reads from the past, which never changes.
//! - An event changes a connection only if its own body names it, and then its version grows by one.
//! - Entities are shared, never changed: whoever holds a [`Views`] sees one position.
//! - All files are derived: what is damaged or gone is made anew from the log.
//! - Nothing here knows of gRPC, HTTP, or how the log is stored.

mod apply;
mod bytes;
mod changes;
mod checkpoint;
mod codec;
mod connection;
mod entity;
mod export;
mod folding;
mod generation;
mod history;
mod id;
mod intake;
mod live;
mod occurrence;
mod older;
mod past;
mod projector;
mod rebuild;
mod record;
mod recorder;
mod ring;
mod state;
#[cfg(test)]
mod tests;
mod views;
mod words;

pub use changes::Disposition;
pub use connection::{Connection, Status};
pub use entity::{Mark, Realm, Trail};
pub use export::{Export, ExportStatus, JoinedExport};
pub use folding::Fold;
pub use generation::seen;
pub use history::Moment;
pub use id::Id;
pub use projector::{Options, Phase, Projection, SEGMENT_BYTES, spawn};
pub use rebuild::Rebuild;
pub use ring::{Change, PositionChanges, Stretch};
pub use state::Slot;
pub use views::Views;

/// Grows whenever the same events give another state, or its files have another format: what an older fold derived is made
/// again.
pub const FOLD_VERSION: u16 = 6;
