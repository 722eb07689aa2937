//! Watches through kills, stops, pauses and lost data, read slowly, left and resumed at random. The messages of each
//! are checked against the log. A history comes from a seed, as far as the test controls chance; `CLEAT_HISTORIES=20`
//! runs 20 histories of new seeds. A proxy that spoils messages shows that the check notices known bugs.

mod asks;
mod checker;
mod counts;
mod driver;
mod history;
mod lineage;
mod reading;
mod spoiling_proxy;
mod story;
mod streams;
mod watcher;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt as _;

use checker::{Property, violations};
use counts::Counts;
use driver::{Plan, run};
use history::Fault;
use spoiling_proxy::Spoiling;

/// Seeds of every run, including each that has ever failed.
const SEEDS: [u64; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const FAULTS: [Fault; 9] = [
    Fault::Kill,
    Fault::Kill,
    Fault::Kill,
    Fault::Stop,
    Fault::Stop,
    Fault::Pause,
    Fault::Pause,
    Fault::AnotherLog,
    Fault::OlderCopy,
];

/// Minimum of each per history, on average.
const OF_EACH: [(&str, usize); 23] = [
    ("kills", 3),
    ("stops", 2),
    ("pauses", 2),
    ("other logs", 1),
    ("older copies", 1),
    ("events", 2500),
    ("changes", 30_000),
    ("changes together", 5000),
    ("slow reads", 15),
    ("fell behind", 3),
    ("caught up", 60),
    ("heartbeats", 15),
    ("cut off", 30),
    ("sent away by a stop", 15),
    ("sent away for their age", 1),
    ("left", 30),
    ("resumes", 45),
    ("resumes inside a snapshot", 2),
    ("refused for another log", 8),
    ("refused for another filter", 3),
    ("refused as damaged", 3),
    ("starts after a position", 4),
    ("whole snapshots", 15),
];

fn plan(seed: u64) -> Plan {
    let pause = Duration::from_millis(8);
    Plan { seed, watchers: 14, faults: FAULTS.to_vec(), events: 600, pause, proxy: None }
}

#[track_caller]
fn check(counts: &mut Counts, plan: &Plan) {
    let history = run(plan);
    counts.add(&history);
    let found = violations(&history);
    // One violation of each property is enough to see.
    let found: BTreeMap<_, _> = found.iter().rev().map(|violation| (violation.property, violation)).collect();
    assert!(found.is_empty(), "{plan:?}: {found:#?}");
}

#[test]
fn every_watch_sees_what_the_log_has_through_every_fault() {
    let mut counts = Counts::default();
    for seed in SEEDS {
        check(&mut counts, &plan(seed));
    }
    counts.at_least(SEEDS.len(), &OF_EACH);
}

#[test]
fn a_thousand_watches_see_the_log_through_kills_and_a_stop() {
    let mut counts = Counts::default();
    let faults = vec![Fault::Kill, Fault::Stop, Fault::Kill];
    check(&mut counts, &Plan { watchers: 1000, faults, events: 60, pause: Duration::from_millis(400), ..plan(1000) });
    counts.at_least(1, &[("cut off", 500), ("sent away by a stop", 100), ("resumes", 1500), ("changes", 30_000)]);
}

#[test]
fn histories_of_new_seeds_hold_as_well() {
    let count = std::env::var("CLEAT_HISTORIES").map_or(0, |count| count.parse().unwrap());
    let mut counts = Counts::default();
    for _ in 0..count {
        check(&mut counts, &plan(rand::rng().random()));
    }
    counts.at_least(count, &OF_EACH);
}

#[test]
fn a_history_through_a_proxy_that_spoils_nothing_holds() {
    let mut counts = Counts::default();
    check(&mut counts, &Plan { proxy: Some(Spoiling::Nothing), ..plan(1) });
    // Both come only through the proxy.
    counts.at_least(1, &[("changes together", 1000), ("whole snapshots", 5)]);
}

/// Checks that a history through a proxy that spoils watches breaks each of these properties.
#[track_caller]
fn breaks(spoiling: Spoiling, properties: &[Property]) {
    let found = violations(&run(&Plan { proxy: Some(spoiling), ..plan(1) }));
    let found: BTreeSet<_> = found.iter().map(|violation| violation.property).collect();
    assert!(properties.iter().all(|property| found.contains(property)), "{spoiling:?}: {found:?}");
}

#[test]
fn progress_sent_ahead_of_events_is_noticed() {
    breaks(Spoiling::ProgressAhead, &[Property::Bookmarkable]);
}

#[test]
fn change_skipped_at_a_snapshot_or_token_hand_over_is_noticed() {
    breaks(Spoiling::SkipAtHandOver, &[Property::GapFree, Property::Resumable]);
}

#[test]
fn a_change_that_comes_twice_is_noticed() {
    breaks(Spoiling::Repeat, &[Property::Unique]);
}

#[test]
fn changes_of_one_position_that_are_split_are_noticed() {
    breaks(Spoiling::Split, &[Property::Atomic]);
}

#[test]
fn a_token_of_another_log_that_is_taken_is_noticed() {
    breaks(Spoiling::AnyEpoch, &[Property::EpochSafe]);
}
