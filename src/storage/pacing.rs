//! The pace of work that must not delay others on the disk and the cores. Must not know the work.

use std::time::{Duration, Instant};

/// Bytes of one piece of work.
pub const PIECE_BYTES: usize = 128 * 1024;
/// Length of a pause, as a multiple of the piece of work before it.
const PAUSE_FACTOR: u32 = 4;
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Pace of work that is done in pieces.
pub trait Pace {
    /// Returns whether each piece is synced and followed by a pause. Then a sync of another file waits for one piece at
    /// most. False once a caller waits for the work.
    fn is_slow(&self) -> bool;

    /// Pauses. Called after each piece.
    fn pause(&mut self);

    /// Returns whether the work is not wanted any more.
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

/// Pace of work that a caller waits for.
pub struct AtOnce;

impl Pace for AtOnce {
    fn is_slow(&self) -> bool {
        false
    }

    fn pause(&mut self) {}
}

/// Measures pauses by the work before them.
pub struct Pacer {
    /// Time at which the last pause ended.
    resumed: Instant,
}

impl Pacer {
    pub fn new() -> Self {
        Self { resumed: Instant::now() }
    }

    /// Returns the length of the pause that is due after a piece of work.
    pub fn due_pause(&self) -> Duration {
        (self.resumed.elapsed() * PAUSE_FACTOR).min(PAUSE_MAX)
    }

    /// Begins the next piece of work.
    pub fn resume(&mut self) {
        self.resumed = Instant::now();
    }
}
