//! Whether the clock may stamp an event. A wrong time stays in the log for ever: deadlines, orders by time and `as_of` follow
//! from it.
//!
//! A webhook is its own evidence: the door has compared the clock with a timestamp that another machine signed. Any other
//! event needs evidence of this life, or a kernel that says that the clock is synchronised. It is no evidence itself, or small
//! steps of the clock would add up. Nothing is stamped while the clock is behind the log. Knows nothing of the disk.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Clock, Timestamp};

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

/// What a delivery says about the time at which it is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeEvidence {
    /// Another machine signed it, and its timestamp is near this clock.
    Signed,
    /// This machine's tools signed it with the published development secret, by the same clock, where no other secret is
    /// configured. It is stamped unless something speaks against the clock, and confirms nothing.
    Development,
    /// Nothing: nobody signed it, or this machine did, by the same clock.
    None,
}

/// Why nothing, or nothing unsigned, is stamped by this clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    #[error(
        "this machine's clock is {seconds} s behind the newest event of the log: set it, or use --trust-clock if it is right"
    )]
    Behind { seconds: i64 },
    #[error(
        "nothing confirms this machine's clock: it is not synchronised, and no webhook of another machine has come since the \
         daemon started (cleat's own tools sign by the same clock); synchronise it, or, if it is right, run `cleat serve \
         --trust-clock`, or `cleat import --offline --trust-clock` while the daemon is stopped"
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

    pub(super) fn read(&self) -> Reading {
        Reading { now: (self.now)(), uptime: (self.uptime)() }
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
pub struct Reading {
    pub(super) now: Timestamp,
    pub(super) uptime: Duration,
}

impl Reading {
    /// What was known when the clock was read.
    pub fn with(self, evidence: TimeEvidence) -> DatedEvidence {
        DatedEvidence { evidence, reading: self }
    }

    /// Whether the clock has gone as the time has since an earlier reading, within `bound` microseconds.
    fn agrees_with(self, earlier: Self, bound: i64) -> bool {
        let elapsed = micros(self.uptime.saturating_sub(earlier.uptime));
        let expected = earlier.now.plus_micros(elapsed);
        self.now.as_micros().abs_diff(expected.as_micros()) <= bound.unsigned_abs()
    }
}

/// Evidence, and the reading of the clock that it is about.
#[derive(Debug, Clone, Copy)]
pub struct DatedEvidence {
    evidence: TimeEvidence,
    reading: Reading,
}

/// Judges each event before it is stamped.
pub(super) struct ClockGuard {
    source: TimeSource,
    /// The newest reading of this life that something confirmed. `None` if nothing has.
    confirmed: Option<Reading>,
}

impl ClockGuard {
    pub fn new(source: TimeSource) -> Self {
        Self { source, confirmed: None }
    }

    pub fn source(&self) -> &TimeSource {
        &self.source
    }

    /// Whether a new event may be stamped with a reading. `last` is the newest time in the log, 0 if it is empty.
    pub fn judge(&self, reading: Reading, last: Timestamp, given: DatedEvidence) -> Result<(), ClockError> {
        self.source.check_not_behind(reading.now, last)?;
        let agrees = |with: Reading| reading.agrees_with(with, self.source.bound_micros());
        let is_confirmed = match given.evidence {
            TimeEvidence::Signed => agrees(given.reading),
            TimeEvidence::Development => agrees(given.reading) && self.confirmed.is_none_or(agrees),
            TimeEvidence::None => self.confirmed.is_some_and(agrees),
        };
        if is_confirmed || self.source.trusted || (self.source.synchronised)() {
            Ok(())
        } else {
            Err(ClockError::Unconfirmed)
        }
    }

    /// Keeps what the stamp of a new event confirms. Called once for each event that was judged well and is no duplicate.
    pub fn observe_stamp(&mut self, reading: Reading, given: DatedEvidence) {
        match given.evidence {
            TimeEvidence::Signed => self.confirmed = Some(given.reading),
            // Without evidence of this life, the kernel or the operator confirmed it.
            TimeEvidence::None if self.confirmed.is_none() => self.confirmed = Some(reading),
            TimeEvidence::Development | TimeEvidence::None => {}
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
