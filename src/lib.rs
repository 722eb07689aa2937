//! cleat: the durable record of an organisation's Fasten Connect connections.
//!
//! ```text
//!   ingest ─▶ log ─▶ fold ─▶ serve          one way: a module names only those before it
//!     webhooks   events  state   gRPC        the daemon wires them; docs/architecture.md says why
//! ```

// What everything speaks of.
#[cfg(test)]
extern crate self as cleat;

pub mod event;
pub mod token;

pub mod config;
pub mod metrics;
pub mod rejections;

// The one record there is.
pub mod log;
pub mod segment;
mod storage;

// In: the webhook door, and what an operator has.
pub mod backfill;
pub mod http;
pub mod ingest;

// Derived: state at one position.
pub mod fold;

// Out: the API.
pub mod proto;
pub mod serve;

pub mod operations;

// All of it together.
pub mod daemon;
pub mod telemetry;
