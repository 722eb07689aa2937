//! Quantiles of durations, in milliseconds. Knows nothing of what was timed.

use std::time::Duration;

pub struct Quantiles(Vec<Duration>);

impl Quantiles {
    pub fn of(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Self(times)
    }

    /// Returns the shortest time within which `percent` of a hundred were done.
    pub fn percent(&self, percent: usize) -> f64 {
        let index = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0[index].as_secs_f64() * 1e3
    }

    pub fn max(&self) -> f64 {
        self.percent(100)
    }
}
