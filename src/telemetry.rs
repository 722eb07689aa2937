//! Logs: text on a terminal, JSON otherwise, on stderr. How often a stranger may cause a line, and what a panic may say.

use std::error::Error;
use std::io::IsTerminal;
use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
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

/// An error and its causes as one text: JSON lines would show the error alone.
pub fn with_causes(error: &dyn Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
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

/// The least time between two lines of one cause.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Limits the lines of one cause, which strangers can bring about, to one a minute.
#[derive(Default)]
pub struct LineLimiter(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    last: Option<Instant>,
    suppressed: u64,
}

impl LineLimiter {
    pub const fn new() -> Self {
        Self(Mutex::new(Lines { last: None, suppressed: 0 }))
    }

    /// How many lines were suppressed since the last one, if another may be written now. `None` if this one is suppressed.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.last.is_some_and(|last| now.duration_since(last) < LINE_INTERVAL) {
            lines.suppressed += 1;
            return None;
        }
        lines.last = Some(now);
        Some(std::mem::take(&mut lines.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_has_one_line_a_minute_and_a_count() {
        let limiter = LineLimiter::new();
        let start = Instant::now();
        let pass_after = |millis| limiter.pass(start + Duration::from_millis(millis));
        assert_eq!((pass_after(0), pass_after(1), pass_after(59_999)), (Some(0), None, None));
        assert_eq!((pass_after(60_000), pass_after(60_000)), (Some(2), None));
        assert_eq!((pass_after(120_000), pass_after(200_000)), (Some(1), Some(0)));
    }
}
