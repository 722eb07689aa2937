//! Waits for what must happen, and gives up after a time. Knows nothing of what is waited for.

use std::thread;
use std::time::{Duration, Instant};

/// How long to wait, and how often to look.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Longest wait.
    pub limit: Duration,
    /// Time between two looks.
    pub pause: Duration,
}

impl Patience {
    /// Returns what `look` finds. Looks again until there is something.
    pub fn until<T>(self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "never: {what}");
            thread::sleep(self.pause);
        }
    }
}
