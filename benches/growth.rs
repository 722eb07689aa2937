//! cleat at size: the standard workload, filled in, served, killed, asked, posted; each figure with its bound beside it.
//!
//! ```text
//! cargo bench --bench growth                      all of it, at 10 M events of 1 M connections
//! cargo bench --bench growth -- --events 200000   all of it, smaller; the bounds stay those for 10 M
//! cargo bench --bench growth -- --http 20         only the workload over HTTP, for 20 s with 64 connections and with 256
//! cargo bench --bench growth -- --light 2000000   only light load: so many commits of one event
//! cargo bench --bench growth -- --starts          only a start over two journals full of such commits
//! cargo bench --bench growth -- --switches 2000000  only the appends at journal switches, among 2 M
//! cargo bench --bench growth -- --idle            only the memory of a daemon over an empty log
//! ```
//!
//! It starts the release binary, and itself for whatever fills a log, so that each one's memory is its own. Its data lie
//! under cargo's target directory and go when it ends. docs/performance.md says what limits each figure.
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
mod workload;

/// As the daemon's, for what fills a log is measured too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    run::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
}
