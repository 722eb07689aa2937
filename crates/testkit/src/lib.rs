//! What the tests, the benchmarks and the fuzz targets share. Only what at least two of them use is here, and nothing
//! names a suite.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test or a benchmark may end so"
)]

pub mod benchmark;
pub mod bodies;
pub mod daemon;
pub mod delivery;
pub mod patience;
pub mod promises;
pub mod signer;
pub mod workload;
