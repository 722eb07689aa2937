//! Starts a daemon over a harmed copy and compares its answers with the acknowledged events. Each acknowledged event is
//! whole or reported as damaged, or the daemon does not start: anything else is a fault.

use std::collections::BTreeSet;
use std::path::Path;

use cleat::proto::Event;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use super::child::{Changed, Child, Fault, Open, Started};
use super::harm::Kind;
use super::prepared::Prepared;
use super::table::Outcome;
use super::tree::Tree;
use crate::support::{Cli, Delivered, Sender};
use crate::workload::{Sample, shown_states, states};

const REDELIVERED: usize = 16;

/// Words of a refusal that name its cause.
const CAUSES: [&str; 7] = [
    "is missing: put back",
    "are missing or damaged",
    "has seen",
    "is of another log",
    "a newer version of cleat wrote",
    "no other file says which log this is",
    "there is no log",
];

/// Complaints that may also come over a whole directory, but need not.
const OF_A_SLOW_DISK: [&str; 2] = ["refusing webhooks for now", "accepting webhooks again"];

/// Output that must name the damaged events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// The daemon's log, because its start finds the damage.
    AtStart,
    /// The daemon's log or `cleat log inspect`, because only a complete read finds the damage.
    ByReadingAll,
}

/// Result of one start and the next.
#[derive(Debug)]
pub struct Judged {
    pub outcome: Outcome,
    /// Reason of the refusal. Empty if the daemon did not refuse.
    pub refusal: String,
    /// Positions that cannot be read any more.
    pub damaged: BTreeSet<u64>,
    /// Warnings and errors that do not come over a whole directory.
    pub complaints: BTreeSet<String>,
}

pub struct Judge<'a> {
    pub prepared: &'a Prepared,
    /// Warnings and errors that also come over a whole directory.
    usual: BTreeSet<String>,
    /// Changes of each position.
    changes: Vec<Changed>,
}

impl<'a> Judge<'a> {
    /// Runs a daemon over the whole directory to record the usual complaints and changes.
    pub fn of(prepared: &'a Prepared) -> Result<Self, Fault> {
        let mut judge = Self { prepared, usual: BTreeSet::new(), changes: Vec::new() };
        let directory = tempfile::tempdir().unwrap();
        prepared.tree.write(&directory.path().join("data"));
        let mut child = Child::start(directory.path(), "");
        let Started::Open(open) = child.started()? else {
            return Err(format!("a whole directory is refused: {}", child.log()));
        };
        judge.changes = open.changes()?.0;
        judge.usual = complaints(&child.log(), directory.path());
        judge.usual.extend(OF_A_SLOW_DISK.map(str::to_owned));
        Ok(judge)
    }

    /// Judges a copy of `tree`. `seed` selects the events that are sent, and how the first daemon ends.
    pub fn judge(&self, tree: &Tree, naming: Naming, seed: u64) -> Result<Judged, Fault> {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        tree.write(&data);
        let mut child = Child::start(directory.path(), "");
        let open = match child.started()? {
            Started::Refused(code) => return refused(code, &child.log(), tree, &data),
            Started::Open(open) => open,
        };
        let mut random = StdRng::seed_from_u64(seed);
        let damaged = self.compare(&open, self.prepared.head())?;
        let mut views_were_damaged = false;
        if damaged.is_empty() {
            self.views_are_right(&open)?;
            views_were_damaged = self.changes_are_right(&open)?;
        }
        let mut added = self.redeliver(&open, &damaged, covered(tree), &mut random)?;
        added.extend(self.new_event(&open, &added, seed, "first")?);
        let log = child.log();
        drop(open);
        if seed.is_multiple_of(2) {
            child.kill();
        } else {
            child.terminate()?;
        }
        if !damaged.is_empty() {
            check_named(&damaged, naming, &log, &data)?;
        }
        self.second_start(directory.path(), &damaged, &mut added, seed)?;
        not_panicked(&log)?;
        let complaints: BTreeSet<_> = complaints(&log, directory.path()).difference(&self.usual).cloned().collect();
        if views_were_damaged && complaints.is_empty() {
            return Err("SILENT: a watch met damage, and the log does not name it".to_owned());
        }
        let outcome = match (damaged.is_empty(), complaints.is_empty()) {
            (false, _) => Outcome::Damaged,
            (true, false) => Outcome::Repaired,
            (true, true) => Outcome::Harmless,
        };
        Ok(Judged { outcome, refusal: String::new(), damaged, complaints })
    }

    /// Returns the acknowledged positions that cannot be read. All others must be as they were sent.
    fn compare(&self, open: &Open, head: u64) -> Result<BTreeSet<u64>, Fault> {
        if open.head != head {
            return Err(format!("SILENT: the head is {}, not {head}", open.head));
        }
        let mut damaged = BTreeSet::new();
        for ((position, sample), event) in (1..).zip(&self.prepared.events).zip(open.events(self.prepared.head())?) {
            match event {
                Some(event) => check_event(&event, position, sample)?,
                None => drop(damaged.insert(position)),
            }
        }
        Ok(damaged)
    }

    fn views_are_right(&self, open: &Open) -> Result<(), Fault> {
        let expected = states((1..).zip(&self.prepared.events));
        if shown_states(&open.connections()?) == expected { Ok(()) } else { Err("the views are wrong".to_owned()) }
    }

    /// Checks that all changes are as over the whole directory, once damaged ones have been rebuilt. Returns whether
    /// any were damaged.
    pub fn changes_are_right(&self, open: &Open) -> Result<bool, Fault> {
        let (changes, were_damaged) = open.changes()?;
        if changes == self.changes { Ok(were_damaged) } else { Err("SILENT: the changes are wrong".to_owned()) }
    }

    /// Sends some readable events and some damaged ones again. Damaged ones that a dedup run covers must still be
    /// duplicates. Returns the others that the log has taken again, after its head.
    fn redeliver(
        &self,
        open: &Open,
        damaged: &BTreeSet<u64>,
        covered: u64,
        random: &mut StdRng,
    ) -> Result<Vec<(u64, Sample)>, Fault> {
        let mut sender = Sender::connect(open.webhooks).map_err(|error| error.to_string())?;
        let head = self.prepared.head();
        let mut positions: BTreeSet<u64> = (0..REDELIVERED).map(|_| random.random_range(1..=head)).collect();
        positions.extend([1, head]);
        let lost: Vec<_> = damaged.iter().copied().collect();
        if !lost.is_empty() {
            positions.extend((0..REDELIVERED / 2).map(|_| lost[random.random_range(0..lost.len())]));
        }
        let mut added = Vec::new();
        for position in positions {
            let sample = &self.prepared.events[usize::try_from(position).unwrap() - 1];
            let taken = deliver(&mut sender, sample)?;
            let next = open.head + 1 + added.len() as u64;
            if damaged.contains(&position) && position > covered && taken.as_new() == Some(next) {
                added.push((next, sample.clone()));
            } else if taken.as_duplicate() != Some(position) {
                return Err(format!("SILENT: event {position} was taken again at {}", taken.answer.taken().0));
            }
        }
        Ok(added)
    }

    /// Sends a new event, which must get the position after all others.
    fn new_event(
        &self,
        open: &Open,
        added: &[(u64, Sample)],
        seed: u64,
        name: &str,
    ) -> Result<Option<(u64, Sample)>, Fault> {
        let mut sender = Sender::connect(open.webhooks).map_err(|error| error.to_string())?;
        let sample = Sample::new(&format!("new-{name}-{seed}"), &mut StdRng::seed_from_u64(seed));
        let taken = deliver(&mut sender, &sample)?;
        let next = self.prepared.head() + added.len() as u64 + 1;
        if taken.as_new() != Some(next) {
            return Err(format!("SILENT: a new event came to {}, not to {next}", taken.answer.taken().0));
        }
        Ok(Some((next, sample)))
    }

    /// Starts again. Everything must hold as before, and the added events must be there.
    fn second_start(
        &self,
        directory: &Path,
        damaged: &BTreeSet<u64>,
        added: &mut Vec<(u64, Sample)>,
        seed: u64,
    ) -> Result<(), Fault> {
        let mut child = Child::start(directory, "");
        let again = |fault| format!("at the second start: {fault}");
        let Started::Open(open) = child.started().map_err(again)? else {
            return Err(again(format!("refused: {}", child.log())));
        };
        let still = self.compare(&open, self.prepared.head() + added.len() as u64).map_err(again)?;
        if let Some(more) = still.difference(damaged).next() {
            return Err(again(format!("event {more} cannot be read any more")));
        }
        let mut sender = Sender::connect(open.webhooks).map_err(|error| error.to_string())?;
        for (position, sample) in added.iter() {
            let event = open.event(*position).map_err(again)?.ok_or_else(|| again(format!("{position} is damaged")))?;
            check_event(&event, *position, sample).map_err(again)?;
            if deliver(&mut sender, sample).map_err(again)?.as_duplicate() != Some(*position) {
                return Err(again(format!("SILENT: {position} is no duplicate")));
            }
        }
        let new = self.new_event(&open, added, seed, "second").map_err(again)?;
        added.extend(new);
        not_panicked(&child.log()).map_err(again)
    }
}

/// Returns the last position that the dedup runs cover.
fn covered(tree: &Tree) -> u64 {
    let run = Kind::Run.paths(tree).pop();
    run.map_or(0, |path| path.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().parse().unwrap())
}

/// Delivers an event. Sends it again while the disk is slow, which is no fault.
fn deliver(sender: &mut Sender, sample: &Sample) -> Result<Delivered, Fault> {
    let delivered = sender.deliver_patiently(&sample.id, &sample.body).map_err(|error| format!("the door: {error}"))?;
    match &delivered.answer {
        answer if answer.status == 200 => Ok(delivered),
        answer => Err(format!("the door answers {}: {}", answer.status, answer.body)),
    }
}

fn check_event(event: &Event, position: u64, sample: &Sample) -> Result<(), Fault> {
    let is_same = event.position == position && event.body == sample.body && event.event_key == sample.key;
    if is_same { Ok(()) } else { Err(format!("SILENT: {position} is {} at {}", event.event_key, event.position)) }
}

/// Checks that a refusal names its cause and changes nothing.
fn refused(code: Option<i32>, log: &str, tree: &Tree, data: &Path) -> Result<Judged, Fault> {
    not_panicked(log)?;
    let refusal = messages(log, &["ERROR"]).pop().unwrap_or_default();
    if code != Some(1) || !CAUSES.iter().any(|cause| refusal.contains(cause)) {
        return Err(format!("refused with {code:?}, and no cause: {log}"));
    }
    let without_lock = |tree: &Tree| tree.part(|path| path != Path::new("lock"));
    if let Some(path) = without_lock(tree).difference(&without_lock(&Tree::read(data))) {
        return Err(format!("refused ({refusal}), and yet {} was changed", path.display()));
    }
    Ok(Judged { outcome: Outcome::Refused, refusal, damaged: BTreeSet::new(), complaints: BTreeSet::new() })
}

/// Checks that the damaged events are named. `cleat log inspect` must find something in any case.
fn check_named(damaged: &BTreeSet<u64>, naming: Naming, log: &str, data: &Path) -> Result<(), Fault> {
    let inspected = Cli::default().call(&["log", "inspect", data.to_str().unwrap()]);
    let inspection = format!("{}\n{}", inspected.stdout, inspected.stderr);
    if inspected.code == 0 {
        return Err(format!("nothing is found: {inspection}"));
    }
    let errors = messages(log, &["ERROR"]);
    let inspected = if naming == Naming::ByReadingAll { inspection.as_str() } else { "" };
    let lines = errors.into_iter().chain(inspected.lines().map(str::to_owned)).filter(|line| is_of_damage(line));
    let ranges: Vec<(u64, u64)> = lines.flat_map(|line| ranges(&line)).collect();
    match damaged.iter().find(|position| !ranges.iter().any(|(from, to)| (from..=to).contains(position))) {
        Some(position) => Err(format!("nothing names the damage of event {position}, {naming:?}: {log}\n{inspection}")),
        None => Ok(()),
    }
}

fn is_of_damage(line: &str) -> bool {
    line.contains("damaged") || line.contains("cannot be read")
}

/// Returns each "<number> to <number>".
fn ranges(line: &str) -> Vec<(u64, u64)> {
    let words: Vec<_> = line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let windows = words.windows(3).filter(|window| window[1] == "to");
    windows.filter_map(|window| Some((window[0].parse().ok()?, window[2].parse().ok()?))).collect()
}

fn not_panicked(log: &str) -> Result<(), Fault> {
    if log.contains("panicked") { Err(format!("a panic: {log}")) } else { Ok(()) }
}

/// Returns the warnings and errors of a log, without the name of the directory.
fn complaints(log: &str, directory: &Path) -> BTreeSet<String> {
    let directory = directory.to_str().unwrap();
    messages(log, &["WARN", "ERROR"]).into_iter().map(|message| message.replace(directory, "")).collect()
}

fn messages(log: &str, levels: &[&str]) -> Vec<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let wanted = lines.filter(|line| levels.contains(&line["level"].as_str().unwrap_or_default()));
    wanted.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
}
