//! The structure of the code, checked by tests: allowed imports, names, the head of each file, the guarantees'
//! tests, and maximum sizes. `source` parses; nothing here runs cleat.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

mod edges;
mod files;
mod guarantees;
mod names;
mod prose;
mod source;
