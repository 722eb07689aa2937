//! The pause before the next try: longer each time, and random, so that many clients do not come back at once.

use std::time::Duration;

use rand::RngExt as _;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Pause {
    tries: u32,
    /// Pause that the daemon asked for.
    wished: Option<Duration>,
}

impl Pause {
    /// Records a success: the next pause is the shortest again, after the time that the daemon may have asked for.
    pub fn reset(&mut self, wished: Option<prost_types::Duration>) {
        self.tries = 0;
        self.wished = wished.and_then(|wished| Duration::try_from(wished).ok()).map(|wished| wished.min(LONGEST));
    }

    pub fn next(&mut self) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        // Between half of it and all of it.
        self.wished.take().unwrap_or_default() + longest.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_grows_to_a_bound_and_restarts_at_the_daemons_wish() {
        let mut pause = Pause::default();
        for longest in [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
            let longest = Duration::from_millis(longest);
            assert!((longest / 2..=longest).contains(&pause.next()));
        }
        pause.reset(Some(prost_types::Duration { seconds: 2, nanos: 0 }));
        assert!((2100..=2200).contains(&pause.next().as_millis()));
        assert!((200..=400).contains(&pause.next().as_millis()), "a wish is for once");
    }
}
