//! The shape of the code, held by tests: who may import whom, what each file must say, and how large things may grow.
//! `source` parses; nothing here runs cleat.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

mod edges;
mod files;
mod guarantees;
mod source;
