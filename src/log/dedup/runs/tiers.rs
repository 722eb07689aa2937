//! Decides which runs are merged next. Knows the sizes of runs, and nothing of their content.
//!
//! A run with 8^n keys or more is of tier n. Adjacent runs are merged when eight of one tier are among them and none is
//! above it: their keys rise a tier. Smaller runs between larger ones cannot wait for more of their kind, so they
//! become one. If each run comes after all others, there are at most fourteen a tier, and at most seven if all have the
//! same size. A key is copied once in each tier, and once more if its run came between larger runs there.

use std::ops::Range;
use std::sync::Arc;

use super::run::DedupRun;

/// Number of runs of a tier that become one.
pub(super) const RUNS_MAX: usize = 8;
/// Factor between the sizes of two tiers.
const FACTOR: u64 = RUNS_MAX as u64;
/// First tier that is no longer merged: 2 M keys.
pub(super) const FINAL_TIER: u32 = 7;
/// Limit of keys in a merged run: if a merge is cut short, the whole run is written again.
pub(super) const MERGED_KEYS_MAX: u64 = 16 << 20;

/// Size of a run, and whether it is joined to the run before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunSize {
    pub keys: u64,
    /// True if the run can be merged with the run before it, so that no run comes between them. For the first run: true
    /// if it begins the log.
    pub is_joined: bool,
}

impl RunSize {
    pub fn tier(self) -> u32 {
        self.keys.max(1).ilog(FACTOR)
    }
}

/// Returns which of the ascending runs to merge. `None` if nothing is due.
pub(in crate::log) fn due(runs: &[Arc<DedupRun>]) -> Option<Range<usize>> {
    let sizes = runs.iter().enumerate().map(|(number, run)| {
        let before = number.checked_sub(1).map(|before| runs[before].header());
        let is_joined = before.map_or(run.header().after == 0, |before| {
            before.head.position == run.header().after
                && before.origin == run.header().origin
                && before.fingerprint_version == run.header().fingerprint_version
        });
        RunSize { keys: run.keys(), is_joined }
    });
    due_of(&sizes.collect::<Vec<_>>())
}

pub(super) fn due_of(runs: &[RunSize]) -> Option<Range<usize>> {
    (0..FINAL_TIER).find_map(|tier| stretches(runs, tier).into_iter().find_map(|stretch| due_in(runs, stretch, tier)))
}

/// Returns the longest ranges of joined runs that are not above a tier.
fn stretches(runs: &[RunSize], tier: u32) -> Vec<Range<usize>> {
    let is_low = |run: &RunSize| run.tier() <= tier;
    let mut found = Vec::new();
    let mut start = 0;
    for (number, run) in runs.iter().enumerate() {
        let end = number + 1;
        let goes_on = is_low(run) && runs.get(end).is_some_and(|next| next.is_joined && is_low(next));
        if is_low(run) && !goes_on {
            found.push(start..end);
        }
        if !goes_on {
            start = end;
        }
    }
    found
}

/// Returns which runs of a stretch to merge, at most as many as one run may hold.
fn due_in(runs: &[RunSize], stretch: Range<usize>, tier: u32) -> Option<Range<usize>> {
    let is_joined = |number: usize| runs.get(number).is_some_and(|run| run.is_joined);
    let nth = stretch.clone().filter(|number| runs[*number].tier() == tier).nth(RUNS_MAX - 1);
    let is_between_larger = is_joined(stretch.start) && is_joined(stretch.end);
    let end = match nth {
        Some(nth) => nth + 1,
        None if is_between_larger && stretch.len() > 1 => stretch.end,
        None => return None,
    };
    let mut keys = 0;
    let fitting = runs[stretch.start..end].iter().take_while(|run| {
        keys += run.keys;
        keys <= MERGED_KEYS_MAX
    });
    Some(stretch.start..stretch.start + fitting.count())
}
