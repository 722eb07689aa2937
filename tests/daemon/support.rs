//! Helpers of these tests to start the daemon and speak to it.

mod api;
mod cli;
mod launch;
mod sender;

pub use api::{Api, Watch};
pub use cli::{Cli, Ended};
pub use launch::Launch;
pub use sender::{Answer, Delivered, SECRET, Sender, signed};
pub use testkit::daemon::{Addresses, Daemon};

use std::time::Duration;

use testkit::patience::Patience;

/// Enough for a slow machine.
const PATIENCE: Patience = Patience { limit: Duration::from_secs(60), pause: Duration::from_millis(2) };

/// Reports a test that is skipped because this machine lacks a tool or a right. In CI this is a failure.
#[expect(clippy::print_stderr, reason = "whoever runs the tests must see it")]
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI runs every suite, but {why}");
    eprintln!("skipped: {why}");
}

/// Waits for a condition that must come true.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    PATIENCE.until(what, || condition().then_some(()));
}
