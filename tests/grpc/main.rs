//! Tests of the gRPC API over a real log, a real projection and a real socket, with generated clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

mod backfill;
mod bounds;
mod dead_peers;
mod drain;
mod event_watches;
mod events;
mod filters;
mod follower;
mod generated;
mod history;
mod lists;
mod orders;
mod privacy;
mod raw;
mod reads;
mod refusals;
mod resumes;
mod support;
mod watches;
