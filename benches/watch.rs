//! Benchmarks watches under load: how soon a change reaches the watchers, how many changes per second, the cost of a
//! watcher.
//!
//! ```text
//! cargo bench --bench watch                    all of it: some minutes
//! cargo bench --bench watch -- --seconds 2     each load for 2 s only
//! cargo bench --bench watch -- --catch-up      only how fast one watcher catches up
//! ```
//!
//! The daemon is the release binary. The posting and watching clients use the same cores. Watchers only count the
//! changes they receive.
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

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    run::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
}
