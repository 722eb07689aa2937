//! The gRPC API `cleat.v1`: queries and watches over the views, events from the log, health and reflection. Knows
//! nothing of the webhook door.
//!
//! ```text
//!   request ─▶ principal ─▶ gate (state) ─▶ consistency ─▶ one Views ─▶ scan ─▶ convert ─▶ answer
//! ```
//!
//! - Every answer comes from one position, and reports it.
//! - A watch is a pulled stream: no task, channel or buffer belongs to a subscriber.
//! - Every error is a [`Refusal`] and carries its reason. `status.rs` turns it into a gRPC status; no other file
//!   chooses a code.
//! - The services read, with these exceptions: imports and readmissions append to the log through `backfill`, and
//!   `RebuildViews` starts a rebuild.

mod admin;
mod as_of;
mod asked;
mod backfill;
mod caller;
mod connections;
mod consistency;
mod context;
mod convert;
mod deadline;
mod engine;
mod event_filter;
mod events;
mod exports;
mod filter;
mod health;
mod history;
mod methods;
mod order;
mod pages;
mod principal;
mod quota;
mod read_events;
mod scan;
mod scans;
mod server;
mod snapshots;
mod state;
mod status;
mod summary;
mod transport;
mod watch;

pub use principal::{Principal, Scope};
pub use server::{Api, Listener, Options, ServeError, Sources};
pub use state::ServingState;
pub use status::Refusal;
pub use transport::CONNECTIONS_MAX;
