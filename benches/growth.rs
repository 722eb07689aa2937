//! Benchmarks cleat at full size: the standard workload is filled in, served, killed, read and posted. Each figure is
//! printed with its bound.
//!
//! ```text
//! cargo bench --bench growth                      all of it, at 10 M events of 1 M connections
//! cargo bench --bench growth -- --events 200000   all of it, smaller; the bounds stay those for 10 M
//! cargo bench --bench growth -- --http 20         only the workload over HTTP: 20 s each with 64 and 256 connections
//! cargo bench --bench growth -- --light 2000000  only light load: 2 M commits of one event
//! cargo bench --bench growth -- --starts          only a start over two journals full of such commits
//! cargo bench --bench growth -- --switches 2000000  only the appends at journal switches, among 2 M appends
//! cargo bench --bench growth -- --idle            only the memory of a daemon over an empty log
//! ```
//!
//! Starts the release binary, and itself as the process that fills a log, so that the memory of each is measured on its
//! own. The data is under cargo's target directory and is removed at the end. docs/performance.md gives the limiting
//! factor of each figure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "a benchmark fails where it must, prints rounded figures, and is its own edge"
)]

#[path = "growth/run.rs"]
mod run;

/// The daemon's allocator, because the process that fills a log is measured, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    run::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
}
