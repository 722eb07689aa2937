//! Decides whether the clock may stamp an event. A wrong time stays in the log permanently: deadlines, orders by time
//! and `as_of` depend on it. Must not know the disk.
//!
//! A webhook is its own evidence: ingest has compared the clock with a timestamp that another machine signed. Any other
//! event needs earlier evidence from this process, or a kernel that reports a synchronised clock. Such an event never
//! renews the evidence, or small steps of the clock would add up. Nothing is stamped while the clock is behind the log
//! by more than the bound.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Clock, Timestamp};

/// Source of the log's time, and of the evidence that confirms it.
#[derive(Clone)]
pub struct TimeSource {
    /// Current time. It may be wrong, and may be set while the log is open.
    pub now: Clock,
    /// Time since the machine started, suspended or not (`CLOCK_BOOTTIME`). Setting the clock does not change it.
    pub uptime: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Whether the kernel reports that the clock is synchronised.
    pub synchronised: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Whether the operator says that the clock is right. If so, nothing is refused.
    pub trusted: bool,
    /// Maximum distance between the clock and the known time.
    pub bound: Duration,
}

/// Evidence that a delivery brings about the time at which it is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeEvidence {
    /// Signed by another machine, with a timestamp near this clock.
    Signed,
    /// Signed by this machine's tools with the published development secret, by the same clock, where no other secret
    /// is configured. The delivery is stamped unless evidence contradicts the clock, and confirms nothing.
    Development,
    /// No evidence: unsigned, or signed by this machine, by the same clock.
    None,
}

/// Reason why this clock stamps nothing, or nothing unsigned.
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
    /// Returns a clock that needs no evidence.
    pub fn trusted(now: Clock) -> Self {
        Self {
            now,
            uptime: Arc::new(|| Duration::ZERO),
            synchronised: Arc::new(|| true),
            trusted: true,
            bound: Duration::ZERO,
        }
    }

    pub fn read(&self) -> ClockReading {
        ClockReading { now: (self.now)(), uptime: (self.uptime)() }
    }

    /// Refuses a time that is before `last`, the newest in the log, by more than the bound: the stamp would be `last`.
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

/// Reading of the clock, with the machine's uptime at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    pub now: Timestamp,
    pub uptime: Duration,
}

impl ClockReading {
    /// Dates evidence with this reading.
    pub fn with(self, evidence: TimeEvidence) -> DatedEvidence {
        DatedEvidence { evidence, reading: self }
    }

    /// Returns whether the clock has advanced as much as the uptime since an earlier reading, within `bound`
    /// microseconds.
    fn agrees_with(self, earlier: Self, bound: i64) -> bool {
        let elapsed = micros(self.uptime.saturating_sub(earlier.uptime));
        let expected = earlier.now.plus_micros(elapsed);
        self.now.as_micros().abs_diff(expected.as_micros()) <= bound.unsigned_abs()
    }
}

/// Evidence, with the clock reading that it is about.
#[derive(Debug, Clone, Copy)]
pub struct DatedEvidence {
    evidence: TimeEvidence,
    reading: ClockReading,
}

/// Judges each event before it is stamped.
pub struct ClockGuard {
    source: TimeSource,
    /// Newest reading that was confirmed since the start. `None` if there is none.
    confirmed: Option<ClockReading>,
}

impl ClockGuard {
    pub fn new(source: TimeSource) -> Self {
        Self { source, confirmed: None }
    }

    pub fn source(&self) -> &TimeSource {
        &self.source
    }

    /// Checks whether a new event may be stamped with a reading. `last` is the newest time in the log, 0 if it is
    /// empty.
    pub fn judge(&self, reading: ClockReading, last: Timestamp, given: DatedEvidence) -> Result<(), ClockError> {
        self.source.check_not_behind(reading.now, last)?;
        let agrees = |with: ClockReading| reading.agrees_with(with, self.source.bound_micros());
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

    /// Keeps the reading that the stamp of a new event confirms. Called once for each event that [`Self::judge`]
    /// accepted and that is no duplicate.
    pub fn observe_stamp(&mut self, reading: ClockReading, given: DatedEvidence) {
        match given.evidence {
            TimeEvidence::Signed => self.confirmed = Some(given.reading),
            // Without earlier evidence, the kernel or the operator confirmed it.
            TimeEvidence::None if self.confirmed.is_none() => self.confirmed = Some(reading),
            TimeEvidence::Development | TimeEvidence::None => {}
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
