//! Judges whether this machine's clock is wrong, by correctly signed webhooks whose timestamps are too far from it.
//! Readiness reports it, because Fasten disables an endpoint that refuses for long. One replay of an old delivery
//! proves nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::event::Timestamp;

/// Time for which a webhook counts.
const WINDOW_MICROS: u64 = 10 * 60 * 1_000_000;
/// Minimum number of distinct stale webhooks that make the clock doubtful.
const DISTINCT_MIN: usize = 3;
/// Maximum difference between their offsets from our clock.
const SPREAD_MICROS: i64 = 60 * 1_000_000;
/// Maximum number of stale webhooks that are kept, the newest.
const KEPT_MAX: usize = 16;

/// Recent stale and fresh webhooks. Cheap to clone; all clones observe together.
#[derive(Clone, Default)]
pub struct StaleSignal(Arc<Mutex<Observed>>);

#[derive(Default)]
struct Observed {
    /// Time of the newest fresh webhook, by our clock.
    fresh: Option<Timestamp>,
    /// The newest stale webhooks, one for each webhook-id.
    stale: VecDeque<Stale>,
}

struct Stale {
    webhook_id: String,
    at: Timestamp,
    /// Time by which its timestamp is ahead of our clock.
    ahead_micros: i64,
}

impl StaleSignal {
    /// Whether at least three distinct webhooks of the last ten minutes were off by about the same, and none was fresh.
    pub fn clock_is_doubtful(&self, now: Timestamp) -> bool {
        let recent = |at: Timestamp| at.as_micros().abs_diff(now.as_micros()) <= WINDOW_MICROS;
        let observed = self.0.lock();
        if observed.fresh.is_some_and(recent) {
            return false;
        }
        let mut ahead: Vec<i64> =
            observed.stale.iter().filter(|stale| recent(stale.at)).map(|stale| stale.ahead_micros).collect();
        ahead.sort_unstable();
        ahead.windows(DISTINCT_MIN).any(|group| {
            let (least, most) = (group[0], group[DISTINCT_MIN - 1]);
            most - least <= SPREAD_MICROS && (least > 0 || most < 0)
        })
    }

    /// Records a correctly signed webhook whose timestamp is near our clock.
    pub(super) fn observe_fresh(&self, now: Timestamp) {
        self.0.lock().fresh = Some(now);
    }

    /// Records a correctly signed webhook whose timestamp `seconds` is too far from our clock.
    pub(super) fn observe_stale(&self, webhook_id: String, seconds: i64, now: Timestamp) {
        let ahead_micros = seconds.saturating_mul(1_000_000).saturating_sub(now.as_micros());
        let mut observed = self.0.lock();
        observed.stale.retain(|stale| stale.webhook_id != webhook_id);
        if observed.stale.len() == KEPT_MAX {
            observed.stale.pop_front();
        }
        observed.stale.push_back(Stale { webhook_id, at: now, ahead_micros });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;
    const HOUR: i64 = 3600;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// Whether the clock is doubtful after webhooks with these ids, each this many seconds ahead of our clock.
    fn doubtful(stale: &[(&str, i64)]) -> bool {
        let signal = StaleSignal::default();
        for (id, ahead) in stale {
            signal.observe_stale((*id).to_owned(), NOW + ahead, at(NOW));
        }
        signal.clock_is_doubtful(at(NOW))
    }

    #[test]
    fn three_distinct_webhooks_off_by_about_the_same_are_needed() {
        assert!(doubtful(&[("a", -HOUR), ("b", -HOUR - 30), ("c", -HOUR + 30)]));
        assert!(doubtful(&[("x", HOUR), ("a", -HOUR), ("y", 9 * HOUR), ("b", -HOUR), ("z", -HOUR)]));
        assert!(!doubtful(&[("a", -HOUR), ("b", -HOUR)]));
        assert!(!doubtful(&[("a", -HOUR), ("a", -HOUR), ("a", -HOUR), ("b", -HOUR)]), "a replay is no other webhook");
        assert!(!doubtful(&[("a", -HOUR), ("b", -HOUR - 31), ("c", -HOUR + 30)]), "off by different amounts");
        assert!(!doubtful(&[("a", -20), ("b", 20), ("c", 25)]), "off in both directions");
    }

    #[test]
    fn a_fresh_webhook_clears_the_doubt_for_ten_minutes() {
        let signal = StaleSignal::default();
        let observe = |id: &str, now| signal.observe_stale(id.to_owned(), now - HOUR, at(now));
        signal.observe_fresh(at(NOW));
        for id in ["a", "b", "c"] {
            observe(id, NOW + 1);
        }
        assert!(!signal.clock_is_doubtful(at(NOW + 600)));
        assert!(signal.clock_is_doubtful(at(NOW + 601)));
        assert!(!signal.clock_is_doubtful(at(NOW + 602)), "the stale ones are too old");
        for id in ["d", "e", "f"] {
            observe(id, NOW + 700);
        }
        assert!(signal.clock_is_doubtful(at(NOW + 700)));
        signal.observe_fresh(at(NOW + 701));
        assert!(!signal.clock_is_doubtful(at(NOW + 701)));
    }

    #[test]
    fn stale_webhooks_without_end_are_not_kept() {
        let signal = StaleSignal::default();
        for id in 0..1000 {
            signal.observe_stale(id.to_string(), NOW - HOUR, at(NOW));
        }
        assert_eq!(signal.0.lock().stale.len(), KEPT_MAX);
    }
}
