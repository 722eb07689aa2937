//! Choice of the runs to merge: how many runs there may be, and how often a key is copied, for runs of any sizes.

use proptest::prelude::*;

use crate::log::dedup::runs::tiers::{FINAL_TIER, MERGED_KEYS_MAX, RUNS_MAX, RunSize, due_of};

/// Run, with the tiers in which each of its original runs was copied.
#[derive(Clone)]
struct Simulated {
    size: RunSize,
    copies: Vec<Vec<u32>>,
}

fn simulated(keys: u64, is_joined: bool) -> Simulated {
    Simulated { size: RunSize { keys, is_joined }, copies: vec![Vec::new()] }
}

/// Merges until nothing is due.
fn settle(runs: &mut Vec<Simulated>) {
    while let Some(range) = due_of(&runs.iter().map(|run| run.size).collect::<Vec<_>>()) {
        let merged: Vec<_> = runs.drain(range.clone()).collect();
        assert!(merged.len() > 1);
        assert!(merged[1..].iter().all(|run| run.size.is_joined));
        assert!(merged.iter().all(|run| run.size.tier() < FINAL_TIER));
        let keys = merged.iter().map(|run| run.size.keys).sum();
        assert!(keys <= MERGED_KEYS_MAX);
        let mut copies = Vec::new();
        for run in &merged {
            for copied in &run.copies {
                copies.push([&copied[..], &[run.size.tier()]].concat());
            }
        }
        let size = RunSize { keys, is_joined: merged[0].size.is_joined };
        runs.insert(range.start, Simulated { size, copies });
    }
}

/// Returns how often the most-copied key was copied in one tier.
fn copies_of_a_tier(runs: &[Simulated]) -> usize {
    let counts = runs.iter().flat_map(|run| &run.copies).map(|copied| {
        (0..=FINAL_TIER).map(|tier| copied.iter().filter(|copy| **copy == tier).count()).max().unwrap_or_default()
    });
    counts.max().unwrap_or_default()
}

fn tiers(runs: &[Simulated]) -> usize {
    runs.iter().map(|run| run.size.tier() as usize + 1).max().unwrap_or_default()
}

/// Generates sizes of every order of magnitude.
fn sizes(count: usize) -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec((0..20u32, 0..u64::MAX).prop_map(|(bits, keys)| (1 << bits) + keys % (1 << bits)), 0..count)
}

proptest! {
    #[test]
    fn runs_that_follow_one_another_stay_few_and_are_seldom_copied(sizes in sizes(600)) {
        let mut runs = Vec::new();
        for keys in sizes {
            runs.push(simulated(keys, true));
            settle(&mut runs);
            prop_assert!(runs.len() <= 2 * (RUNS_MAX - 1) * tiers(&runs));
        }
        prop_assert!(copies_of_a_tier(&runs) <= 2);
    }

    #[test]
    fn runs_that_precede_one_another_stay_few_and_seldom_copied(sizes in sizes(600)) {
        let mut runs: Vec<Simulated> = Vec::new();
        for keys in sizes {
            if let Some(first) = runs.first_mut() {
                first.size.is_joined = true;
            }
            runs.insert(0, simulated(keys, false));
            settle(&mut runs);
            prop_assert!(runs.len() <= 2 * (RUNS_MAX - 1) * tiers(&runs));
        }
        prop_assert!(copies_of_a_tier(&runs) <= 2);
    }

    #[test]
    fn runs_of_one_size_are_copied_once_a_tier(keys in 1..100_000u64, count in 0..2000usize) {
        let mut runs = Vec::new();
        for _ in 0..count {
            runs.push(simulated(keys, true));
            settle(&mut runs);
            for tier in 0..FINAL_TIER {
                prop_assert!(runs.iter().filter(|run| run.size.tier() == tier).count() < RUNS_MAX);
            }
        }
        prop_assert!(copies_of_a_tier(&runs) <= 1);
    }

    #[test]
    fn nothing_is_merged_across_a_gap_and_nothing_is_lost(
        sizes in sizes(200),
        gaps in prop::collection::vec(any::<bool>(), 200),
    ) {
        let mut runs = Vec::new();
        let total: u64 = sizes.iter().sum();
        for (keys, is_gap) in sizes.iter().zip(&gaps) {
            runs.push(simulated(*keys, !is_gap));
        }
        settle(&mut runs);
        let opens = runs.iter().filter(|run| !run.size.is_joined).count();
        prop_assert_eq!(opens, gaps[..sizes.len()].iter().filter(|is_gap| **is_gap).count());
        prop_assert_eq!(runs.iter().map(|run| run.size.keys).sum::<u64>(), total);
    }
}

/// Adds seven runs of each tier, then one of the next, like the marks of a ruler. This is the worst case.
#[test]
fn runs_that_come_as_on_a_ruler_stay_few() {
    let mut runs = Vec::new();
    for number in 1..=20_000u64 {
        let tier = (0..5).rev().find(|tier| number % 8u64.pow(*tier) == 0).unwrap();
        runs.push(simulated(8u64.pow(tier), true));
        settle(&mut runs);
        assert!(runs.len() <= 2 * (RUNS_MAX - 1) * tiers(&runs), "{}", runs.len());
    }
    assert!(copies_of_a_tier(&runs) <= 2);
}

#[test]
fn the_largest_runs_are_left_alone() {
    let run = |keys| RunSize { keys, is_joined: true };
    let last_tier = 8u64.pow(FINAL_TIER);
    assert_eq!(due_of(&[run(last_tier); 20]), None);
    assert_eq!(due_of(&[run(last_tier - 1); 7]), None);
    assert_eq!(due_of(&[run(last_tier - 1); 8]), Some(0..8));
    assert_eq!(due_of(&[run(last_tier / 2); 8]), Some(0..8));
    assert_eq!(due_of(&[&[run(last_tier); 3][..], &[run(5); 8][..]].concat()), Some(3..11));
}

#[test]
fn small_runs_merge_only_once_no_other_can_come_between() {
    let run = |keys| RunSize { keys, is_joined: true };
    let after_gap = |keys| RunSize { keys, is_joined: false };
    assert_eq!(due_of(&[run(5), run(5)]), None, "more may follow");
    assert_eq!(due_of(&[run(5), run(5), run(50)]), Some(0..2), "from the first position on");
    assert_eq!(due_of(&[after_gap(5), run(5), run(50)]), None, "more may come before");
    assert_eq!(due_of(&[run(50), run(5), run(5), after_gap(50)]), None, "more may follow");
    assert_eq!(due_of(&[after_gap(500), run(5), run(50), run(500)]), Some(1..3));
    assert_eq!(due_of(&[run(50), run(5), run(50)]), None, "one is enough");
}
