//! The pace of work that others on the disk and the cores need not wait for. Knows nothing of the work.

use std::time::{Duration, Instant};

/// Bytes of one piece of such work. What it writes is synced, so that the next sync of another file does not wait for more.
pub const PIECE_BYTES: usize = 128 * 1024;
/// A pause is as long as the piece of work before it, times this.
const PAUSE_FACTOR: u32 = 4;
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Says how long to pause after each piece of work.
pub struct Pacer {
    /// When the last pause ended.
    resumed: Instant,
}

impl Pacer {
    pub fn new() -> Self {
        Self { resumed: Instant::now() }
    }

    /// The length of the pause that is due after a piece of work.
    pub fn pause(&self) -> Duration {
        (self.resumed.elapsed() * PAUSE_FACTOR).min(PAUSE_MAX)
    }

    /// Begins the next piece of work.
    pub fn resume(&mut self) {
        self.resumed = Instant::now();
    }
}
