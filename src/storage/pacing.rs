//! The pace of work that others on the disk and the cores need not wait for. Knows nothing of the work.

use std::time::{Duration, Instant};

/// Bytes of one piece of such work.
pub const PIECE_BYTES: usize = 128 * 1024;
/// A pause is as long as the piece of work before it, times this.
const PAUSE_FACTOR: u32 = 4;
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Work is done in pieces, at this pace.
pub trait Pace {
    /// Whether each piece is synced, so that no sync of another file waits for more of it, and followed by a pause. False once
    /// somebody waits for the work.
    fn is_slow(&self) -> bool;

    /// Called after each piece.
    fn pause(&mut self);

    /// Whether the work is not wanted any more.
    fn is_over(&self) -> bool {
        false
    }
}

impl<P: Pace> Pace for &mut P {
    fn is_slow(&self) -> bool {
        (**self).is_slow()
    }

    fn pause(&mut self) {
        (**self).pause();
    }

    fn is_over(&self) -> bool {
        (**self).is_over()
    }
}

/// The pace of work that somebody waits for.
pub struct AtOnce;

impl Pace for AtOnce {
    fn is_slow(&self) -> bool {
        false
    }

    fn pause(&mut self) {}
}

/// Measures pauses by the work before them.
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
