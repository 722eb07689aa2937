//! The simulated year. A log that is filled in minutes holds events of a year that ends now, so that most of its
//! exports are past their deadline of a day.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cleat::event::{Clock, Timestamp};

const YEAR_MICROS: i64 = 365 * 86_400 * 1_000_000;

#[derive(Clone, Copy)]
pub struct Year {
    begin_micros: i64,
    step_micros: i64,
}

impl Year {
    pub fn of(events: u64) -> Self {
        let now = jiff::Timestamp::now().as_microsecond();
        Self { begin_micros: now - YEAR_MICROS, step_micros: YEAR_MICROS / events as i64 }
    }

    /// Time of the nth event.
    fn micros(self, nth: u64) -> i64 {
        self.begin_micros + self.step_micros * nth as i64
    }

    pub fn seconds(self, nth: u64) -> u64 {
        (self.micros(nth) / 1_000_000) as u64
    }

    /// Returns a clock that follows `position`, not the number of calls: how often a log asks for the time is its own
    /// affair. Only the log's owner knows the position. Real time is added, so that an idle log sees time go on.
    pub fn clock(self, position: Arc<AtomicU64>) -> Clock {
        let opened = Instant::now();
        Arc::new(move || {
            let passed = opened.elapsed().as_micros() as i64;
            Timestamp::from_micros(self.micros(position.load(Ordering::Relaxed)) + passed)
        })
    }
}
