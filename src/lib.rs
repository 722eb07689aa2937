//! cleat: the durable record of an organisation's Fasten Connect connections.
//!
//! ```text
//!   ingest ─▶ log ─▶ fold ─▶ serve          one way: a module names only those before it
//!     webhooks   events  state   gRPC        the daemon wires them; docs/architecture.md says why
//! ```

// Unit tests include the file of the standard workload, which names the crate.
#[cfg(test)]
extern crate self as cleat;

// Shared vocabulary: `event` and `token`.
pub mod event;
pub mod token;

pub mod config;
pub mod metrics;
pub mod rejections;

// The record: the log, its segments, file access and threads.
pub mod log;
pub mod segment;
mod storage;
mod worker;

// Input: the webhook door, imports and readmitted events.
pub mod backfill;
pub mod http;
pub mod ingest;

// Derived: state at one position.
pub mod fold;

// Output: the gRPC API.
pub mod proto;
pub mod serve;

pub mod operations;

// The composition root, and logging.
pub mod daemon;
pub mod telemetry;
