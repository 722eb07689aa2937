//! Logging on stderr: text on a terminal, otherwise JSON. Limits how often a stranger can cause a line, and the
//! contents of a panic's line. Knows no other module.

use std::error::Error;
use std::io::IsTerminal;
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Sets up logging, with levels from `RUST_LOG`, or `info` without it. Call it once.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let layers = tracing_subscriber::registry().with(filter).with(filter_fn(is_discreet));
    if std::io::stderr().is_terminal() {
        layers.with(fmt::layer().with_writer(std::io::stderr)).init();
    } else {
        layers.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).init();
    }
    panic::set_hook(Box::new(report));
}

/// An error and its causes as one text: JSON lines would show the error alone.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Whether a line may be logged. Our own lines contain nothing confidential. Those of libraries may below `info`:
/// sled's `trace` shows every value that it writes. No `RUST_LOG` enables these.
fn is_discreet(line: &Metadata<'_>) -> bool {
    let ours = line.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    ours || *line.level() <= Level::INFO
}

/// Logs the place of a panic, and its message if that is a literal in the code: a formatted one may quote data.
fn report(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("");
    tracing::error!(place, thread, message, "panicked");
    if thread.starts_with("sled") {
        // sled's flushes would wait for this thread indefinitely. Only acknowledged events are promised: a restart
        // recovers.
        std::process::abort();
    }
}

/// Minimum time between two lines of one cause.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Limits log lines of one cause, which strangers can provoke, to one a minute.
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

    /// Number of lines suppressed since the last one, if another may be written now. `None` if this one is suppressed.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock();
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
