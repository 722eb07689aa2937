//! Tests of random lives of a daemon's state: events, restarts, kills, checkpoints, rebuilds. In each, the state is
//! that of the written rules for the log. Uses a real log, and no rule of the fold.

use std::path::Path;

use proptest::prelude::*;

use super::properties::events;
use super::reference::held;
use super::world::World;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Events(Vec<Event>),
    /// Events that are appended at the same time.
    Burst(Vec<Event>),
    Restart,
    Kill,
    Rebuild,
    /// All derived data is lost.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => events().prop_map(Step::Events),
        3 => events().prop_map(Step::Burst),
        2 => Just(Step::Restart),
        3 => Just(Step::Kill),
        2 => Just(Step::Rebuild),
        1 => Just(Step::Lose),
    ]
}

fn lose(views: &Path) {
    if views.exists() {
        std::fs::remove_dir_all(views).unwrap();
    }
}

fn check_steps(steps: Vec<Step>) {
    let mut world = World::new();
    let mut published = Vec::new();
    for step in steps {
        match step {
            Step::Events(events) => {
                let mut before = 0;
                for event in events {
                    let now = event.recorded_at.as_micros();
                    world.advance_clock(now - std::mem::replace(&mut before, now));
                    world.append(event.delivery);
                }
            }
            Step::Burst(events) => {
                world.advance_clock(events.last().map_or(0, |last| last.recorded_at.as_micros()));
                world.append_all(events.into_iter().map(|event| event.delivery).collect());
            }
            Step::Restart => world = world.restarted(),
            Step::Kill => world = world.killed(|_| {}),
            Step::Lose => world = world.killed(lose),
            Step::Rebuild => {
                let old = world.views();
                world.begin_rebuild();
                world.wait_until_replaced(&old);
                published.push((held(&old), old));
            }
        }
        world.check();
        for (expected, views) in &published {
            assert!(held(views) == *expected, "published views never change");
        }
        if published.len() > 2 {
            published.remove(0);
        }
    }
    world.check_past();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn live_restored_and_rebuilt_states_follow_the_written_rules(steps in prop::collection::vec(step(), 1..14)) {
        check_steps(steps);
    }
}
