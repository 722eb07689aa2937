//! Logs: text on a terminal, JSON otherwise, on stderr. And what a panic may say.

use std::io::IsTerminal;
use std::panic::{self, PanicHookInfo};

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Levels by `RUST_LOG`, `info` without it. Call it once.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let layers = tracing_subscriber::registry().with(filter).with(filter_fn(discreet));
    if std::io::stderr().is_terminal() {
        layers.with(fmt::layer().with_writer(std::io::stderr)).init();
    } else {
        layers.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).init();
    }
    panic::set_hook(Box::new(report));
}

/// Our own lines say nothing confidential. Below `info`, others' may: sled's `trace` shows every value that it writes. No
/// `RUST_LOG` turns these on.
fn discreet(line: &Metadata<'_>) -> bool {
    let ours = line.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    ours || *line.level() <= Level::INFO
}

/// Where it panicked, and the message if it is a literal of the code: a formatted one may quote what was being worked on.
fn report(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("");
    tracing::error!(place, thread, message, "panicked");
    if thread.starts_with("sled") {
        // Its flushes would wait for this thread for ever. Nothing unacknowledged is promised: recover by a restart.
        std::process::abort();
    }
}
