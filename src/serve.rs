//! The gRPC API `cleat.v1`: queries and watches over the views, events from the log, health and reflection. Knows
//! nothing of the webhook door.
//!
//! ```text
//!   request ─▶ principal ─▶ gate (state) ─▶ consistency ─▶ one Views ─▶ scan ─▶ wire ─▶ answer
//! ```
//!
//! - Every answer comes from one position, and reports it.
//! - A watch is a pulled stream: no task, channel or buffer belongs to a subscriber.
//! - Every error is a [`Refusal`] and carries its reason. `refusal.rs` turns it into a gRPC status; no other file
//!   chooses a code.
//! - The services read, with these exceptions: imports and readmissions append to the log through `backfill`, and
//!   `RebuildViews` starts a rebuild.

mod limits;
mod principal;
mod query;
mod read;
mod refusal;
mod rpc;
mod server;
mod serving_state;
mod transport;
mod watch;
mod wire;

pub use principal::{Principal, Scope};
pub use read::Sources;
pub use refusal::Refusal;
pub use server::{Api, ApiOptions, Listener, ServeError};
pub use serving_state::ServingState;
pub use transport::CONNECTIONS_MAX;
