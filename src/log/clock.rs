//! Whether the clock may stamp an event. A wrong time stays in the log for ever: deadlines, orders by time and `as_of` follow
//! from it.
//!
//! A webhook is its own evidence: the door has compared the clock with its signed timestamp. What nobody signed needs other
//! evidence that the clock is not ahead. Nothing is stamped while the clock is behind the log. Knows nothing of the disk.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Clock, Provenance, Timestamp};

/// Where the log's time comes from, and what confirms it.
#[derive(Clone)]
pub struct TimeSource {
    /// May be wrong, and may be set while it runs.
    pub now: Clock,
    /// Since the machine started, suspended or not (`CLOCK_BOOTTIME`): setting the clock leaves it as it is.
    pub uptime: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Whether the kernel says that the clock is synchronised.
    pub synchronised: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The operator says that the clock is right. Nothing is refused.
    pub trusted: bool,
    /// How far the clock may be from what is known of the time.
    pub bound: Duration,
}

/// Why nothing, or nothing unsigned, is stamped by this clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    #[error(
        "this machine's clock is {seconds} s behind the newest event of the log: set it, or use --trust-clock if it is right"
    )]
    Behind { seconds: i64 },
    #[error(
        "nothing confirms this machine's clock: it is not synchronised, and agrees with no event since the start; \
         synchronise it, or use --trust-clock of serve or import --offline if it is right"
    )]
    Unconfirmed,
}

impl TimeSource {
    /// A clock that needs no evidence.
    pub fn trusted(now: Clock) -> Self {
        Self {
            now,
            uptime: Arc::new(|| Duration::ZERO),
            synchronised: Arc::new(|| true),
            trusted: true,
            bound: Duration::ZERO,
        }
    }

    /// Refuses a time before `last`, the newest in the log, by more than the bound: it would stamp with `last`.
    pub fn check_not_behind(&self, now: Timestamp, last: Timestamp) -> Result<(), ClockError> {
        let micros = last.as_micros().saturating_sub(now.as_micros());
        if self.trusted || micros <= self.bound_micros() {
            return Ok(());
        }
        Err(ClockError::Behind { seconds: micros / 1_000_000 })
    }

    fn bound_micros(&self) -> i64 {
        micros(self.bound)
    }
}

/// What the clock says, and when that is in this life of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub now: Timestamp,
    uptime: Duration,
}

/// Judges each event before it is stamped.
pub(super) struct ClockGuard {
    source: TimeSource,
    /// The reading that stamped the newest event since the start. `None` if there is none yet.
    confirmed: Option<Reading>,
}

impl ClockGuard {
    pub fn new(source: TimeSource) -> Self {
        Self { source, confirmed: None }
    }

    pub fn read(&self) -> Reading {
        Reading { now: (self.source.now)(), uptime: (self.source.uptime)() }
    }

    /// Lets an event be stamped with a reading; it then confirms later ones. `last` is the newest time in the log, 0 if it is
    /// empty.
    pub fn admit(&mut self, reading: Reading, last: Timestamp, provenance: Provenance) -> Result<(), ClockError> {
        self.source.check_not_behind(reading.now, last)?;
        let is_confirmed = self.source.trusted
            || provenance == Provenance::Webhook
            || self.is_near(reading.now, last)
            || self.agrees_with_this_life(reading)
            || (self.source.synchronised)();
        if !is_confirmed {
            return Err(ClockError::Unconfirmed);
        }
        self.confirmed = Some(reading);
        Ok(())
    }

    fn agrees_with_this_life(&self, reading: Reading) -> bool {
        self.confirmed.is_some_and(|confirmed| {
            let elapsed = micros(reading.uptime.saturating_sub(confirmed.uptime));
            self.is_near(reading.now, confirmed.now.plus_micros(elapsed))
        })
    }

    fn is_near(&self, now: Timestamp, expected: Timestamp) -> bool {
        now.as_micros().abs_diff(expected.as_micros()) <= self.source.bound_micros().unsigned_abs()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
