//! Watches under load: how soon a change is with those who watch, how many changes a second, what a watcher costs.
//!
//! ```text
//! cargo bench --bench watch                    all of it: some minutes
//! cargo bench --bench watch -- --seconds 2     each load for so long only
//! cargo bench --bench watch -- --catch-up      only how fast one watcher catches up
//! ```
//!
//! The daemon is the release binary; what posts and what watches has the same cores, and only counts what it is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "a benchmark fails where it must, prints rounded figures, and is its own edge"
)]

#[path = "watch/run.rs"]
mod run;
mod workload;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    run::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
}
