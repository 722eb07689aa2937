//! Remembers whether rightly signed webhooks are refused because of the clock, for readiness to tell: Fasten disables
//! an endpoint that refuses for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::outcome::Refusal;
use super::verify::Verified;
use crate::event::Timestamp;

/// The time of the newest rightly signed webhook, if its timestamp was too far from ours.
#[derive(Clone)]
pub struct StaleSignal(Arc<AtomicI64>);

/// No time at all.
const NEVER: i64 = i64::MIN;

impl StaleSignal {
    /// By our clock. None: there was none, or a fresh one came since. Whoever asks bounds how long it counts, since one
    /// replayed webhook is enough to set it.
    pub fn last(&self) -> Option<Timestamp> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&micros| micros != NEVER).map(Timestamp::from_micros)
    }

    pub(super) fn observe(&self, verified: &Result<Verified, Refusal>, now: Timestamp) {
        match verified {
            Ok(_) => self.0.store(NEVER, Ordering::Relaxed),
            Err(Refusal::StaleTimestamp) => self.0.store(now.as_micros(), Ordering::Relaxed),
            Err(_) => {}
        }
    }
}

impl Default for StaleSignal {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(NEVER)))
    }
}
