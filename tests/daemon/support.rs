//! Helpers of these tests to start the daemon and speak to it.

mod api;
mod cli;
mod process;
mod sender;

pub use api::{Api, Watch};
pub use cli::{Cli, Ended};
pub use process::{Addresses, Daemon, Launch};
pub use sender::{Answer, Delivered, SECRET, Sender, signed};

use std::time::{Duration, Instant};

/// Reports a test that is skipped because this machine lacks a tool or a right. In CI this is a failure.
#[expect(clippy::print_stderr, reason = "whoever runs the tests must see it")]
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI runs every suite, but {why}");
    eprintln!("skipped: {why}");
}

/// Waits for a condition that must come true.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
