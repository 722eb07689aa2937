//! Measures how far the views are behind the log, from the daemon's own metrics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use testkit::benchmark::Daemon;

const EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(600);

pub struct Sample {
    asked: Instant,
    answered: Instant,
    pub head: u64,
    views: u64,
}

/// Takes samples until everything is `posted` and the views have it.
pub fn watch(daemon: &Daemon, posted: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    let begun = Instant::now();
    loop {
        // Loaded before the sample, so that the last sample includes everything posted.
        let is_last = posted.load(Ordering::Acquire);
        let sample = look(daemon);
        let is_behind = sample.views < sample.head;
        samples.push(sample);
        if is_last && !is_behind {
            return samples;
        }
        assert!(begun.elapsed() < PATIENCE, "the views never reach the head");
        thread::sleep(EVERY);
    }
}

fn look(daemon: &Daemon) -> Sample {
    let asked = Instant::now();
    let text = daemon.metrics();
    let answered = Instant::now();
    let gauge = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.expect("a gauge").parse().unwrap()
    };
    Sample { asked, answered, head: gauge("cleat_log_head_position"), views: gauge("cleat_views_position") }
}

/// Upper bounds of the time until the views reached the head, one for each sample.
pub fn lags(samples: &[Sample]) -> Vec<Duration> {
    let reached = |seen: usize| {
        let sample = &samples[seen];
        if sample.views >= sample.head {
            return Duration::ZERO;
        }
        let caught_up = samples[seen..].iter().find(|later| later.views >= sample.head).expect("all was reached");
        caught_up.answered - sample.asked
    };
    (0..samples.len()).map(reached).collect()
}
