//! How these tests start the daemon and speak to it.

mod api;
mod cli;
mod process;
mod sender;

pub use api::{Api, Watch};
pub use cli::{Cli, Ended};
pub use process::{Addresses, Daemon, Launch};
pub use sender::{Answer, Delivered, SECRET, Sender, signed};

use std::time::{Duration, Instant};

/// A tool or a right that this machine lacks: told, and a failure where everything must run.
#[expect(clippy::print_stderr, reason = "whoever runs the tests must see it")]
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI runs every suite, but {why}");
    eprintln!("skipped: {why}");
}

/// Waits for what must come.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
