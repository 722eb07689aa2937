//! Damage of a whole data directory. The real binary runs over hundreds of copies, each with one fault. It refuses to
//! start and changes nothing, or opens its door and names the events that cannot be read, or everything is there.
//!
//! A failing case prints its number and keeps its directory. `CLEAT_DAMAGE_CASE=<number>` runs only that case.

mod child;
mod harm;
mod judge;
mod prepared;
mod scenarios;
mod table;
mod tree;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use self::harm::{Fault, Harm, Kind};
use self::judge::{Judge, Naming};
use self::prepared::prepared;
use self::table::{Outcome, cases, expected};

const THREADS: usize = 3;

/// Numbers of cases, by fault and outcome.
type Counts = BTreeMap<(Kind, Harm, Outcome), usize>;

#[test]
fn any_one_fault_in_data_is_refused_named_mended_or_harmless() {
    let judge = Judge::of(prepared()).unwrap();
    let cases = cases();
    let only = std::env::var("CLEAT_DAMAGE_CASE").ok().map(|number| number.parse::<usize>().unwrap());
    let next = AtomicUsize::new(0);
    let results = Mutex::new((Counts::new(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((number, case)) = take(&next, &cases) {
                    if only.is_none_or(|only| only == number) {
                        let result = run(&judge, number, *case);
                        let mut results = results.lock().unwrap();
                        match result {
                            Ok(Some(outcome)) => *results.0.entry((case.0, case.1, outcome)).or_default() += 1,
                            Ok(None) => {}
                            Err(fault) => results.1.push(fault),
                        }
                    }
                }
            });
        }
    });
    let (counts, faults) = results.into_inner().unwrap();
    assert!(faults.is_empty(), "{} cases fail:\n{}\n{counts:#?}", faults.len(), faults.join("\n"));
    if only.is_none() {
        assert!(cases.len() >= 400, "{}", cases.len());
        let is_derived = |kind: &Kind| matches!(kind, Kind::Run | Kind::Changes | Kind::Checkpoint);
        assert!(cases.iter().filter(|(kind, _)| is_derived(kind)).count() >= 150);
        has_all(&counts);
    }
}

fn take<'a>(next: &AtomicUsize, cases: &'a [(Kind, Harm)]) -> Option<(usize, &'a (Kind, Harm))> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    Some((number, cases.get(number)?))
}

/// Runs a case. Returns the outcome if it is allowed, else the fault found and the place of the directory. `None` if
/// the harm changes nothing.
fn run(judge: &Judge<'_>, number: usize, (kind, harm): (Kind, Harm)) -> Result<Option<Outcome>, String> {
    let mut random = StdRng::seed_from_u64(number as u64);
    let mut tree = judge.prepared.tree.clone();
    let fault = Fault::of(kind, harm, &tree, &mut random);
    let is_changed = fault.inflict(&mut tree, judge.prepared, &mut random);
    let before = &judge.prepared.tree;
    let (left, touches) = (fault.left(before, &tree), fault.touches(before, &tree));
    let naming = if fault.is_found_by_a_start() { Naming::AtStart } else { Naming::ByReadingAll };
    let judged = catch_unwind(AssertUnwindSafe(|| judge.judge(&tree, naming, number as u64)));
    let judged = judged.unwrap_or_else(|_| Err("the case panicked".to_owned()));
    let wrong = match judged {
        Err(fault) => fault,
        Ok(judged) if !is_changed && judged.outcome == Outcome::Harmless => return Ok(None),
        Ok(judged) if judged.damaged.iter().any(|position| !touches.contains(position)) => {
            format!("it costs more than its own events: {:?}", judged.damaged)
        }
        Ok(judged) if expected(kind, harm, left).contains(&judged.outcome) => return Ok(Some(judged.outcome)),
        Ok(judged) => format!("{:?} is not expected, {left:?}: {:?}", judged.outcome, judged.complaints),
    };
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("damage-{number}"));
    if kept.exists() {
        std::fs::remove_dir_all(&kept).unwrap();
    }
    tree.write(&kept);
    Err(format!("case {number}, {fault:?}, kept in {}: {wrong}", kept.display()))
}

/// Checks that each outcome has occurred, and that each kind had enough cases.
fn has_all(counts: &Counts) {
    let count = |is_wanted: &dyn Fn(&(Kind, Harm, Outcome)) -> bool| {
        counts.iter().filter(|(key, _)| is_wanted(key)).map(|(_, count)| count).sum::<usize>()
    };
    for outcome in [Outcome::Refused, Outcome::Damaged, Outcome::Repaired, Outcome::Harmless] {
        assert!(count(&|key| key.2 == outcome) >= 20, "{outcome:?}: {counts:?}");
    }
    for (kind, at_least) in [
        (Kind::Cleat, 18),
        (Kind::Epochs, 18),
        (Kind::Secret, 20),
        (Kind::Witness, 25),
        (Kind::SegmentHeader, 20),
        (Kind::SegmentFrame, 40),
        (Kind::SegmentFooter, 20),
        (Kind::LastJournal, 60),
        (Kind::ClosedJournal, 60),
        (Kind::BlankJournal, 6),
        (Kind::JournalSled, 10),
        (Kind::Run, 30),
        (Kind::Checkpoint, 30),
        (Kind::Changes, 40),
        (Kind::LogPart, 3),
        (Kind::DedupPart, 3),
        (Kind::ViewsPart, 3),
    ] {
        assert!(count(&|key| key.0 == kind) >= at_least, "{kind:?}: {counts:?}");
    }
}
