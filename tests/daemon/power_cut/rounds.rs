//! Cuts at random, one after another on one disk. Each time a daemon starts on the state that the last cut left, is
//! checked, and is cut.

use std::path::{Path, PathBuf};

use super::disk::Keep;
use super::load::Load;
use super::machine::{Machine, count};
use super::recovered::{Expected, NEW};
use crate::support::{Daemon, until};

#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Part of the ids of its events.
    pub name: u64,
    /// Load until the cut. `None` if the cut comes while the daemon opens its data.
    pub load: Option<Load>,
    /// Writes of the disk after the load, or after the daemon's start, until the cut.
    pub writes: u32,
    pub keep: Keep,
}

/// Results of the cuts.
#[derive(Debug, Default)]
pub struct Seen {
    pub cuts: usize,
    /// Cuts that found unsynced writes.
    pub in_flight: usize,
    pub loads: Vec<Loaded>,
    /// Dedup runs, checkpoints and segments that are there at the end.
    pub runs: usize,
    pub checkpoints: usize,
    pub segments: usize,
    /// Descriptions of missing events, or of a daemon that did not serve.
    pub lost: Vec<String>,
}

/// Results of one load, up to its cut.
#[derive(Debug)]
pub struct Loaded {
    pub load: Load,
    pub acknowledged: usize,
    /// Commits of this daemon, by its own metrics; `events`: its events.
    pub commits: u64,
    pub events: u64,
}

pub struct Rounds<'a> {
    pub directory: &'a Path,
    pub env: &'a [(&'a str, &'a str)],
}

impl Rounds<'_> {
    pub fn run(&self, cuts: impl Iterator<Item = Cut>) -> Seen {
        let mut machine = Machine::new(self.directory);
        let (mut seen, mut expected) = (Seen::default(), Expected::default());
        let mut last = None;
        for cut in cuts {
            match cut.load {
                None => self.open(cut, &machine, &seen),
                Some(load) => {
                    let daemon = self.recover(last, &machine, &mut seen, &mut expected);
                    let acknowledged = load.run(cut.name, daemon.webhooks, &machine.disk, (cut.writes, cut.keep));
                    seen.loads.push(Loaded::new(load, acknowledged.len(), &daemon));
                    expected.acknowledged = acknowledged;
                    daemon.kill();
                }
            }
            seen.cuts += 1;
            seen.in_flight += usize::from(machine.power_on_again() > 0);
            last = Some(cut);
        }
        self.recover(last, &machine, &mut seen, &mut expected).kill();
        let data = Self::data(&machine, &seen);
        (seen.runs, seen.checkpoints) = (count(&data, "run"), count(&data, "checkpoint"));
        seen.segments = count(&data, "seg");
        seen
    }

    /// Starts a daemon on the state that the last cut left, or over a new directory if something was lost.
    fn recover(&self, last: Option<Cut>, machine: &Machine, seen: &mut Seen, expected: &mut Expected) -> Daemon {
        let daemon = self.start(machine, seen);
        let notes: &[_] = if last.is_none() { &[NEW] } else { &[] };
        let Err(lost) = expected.check(&daemon, notes).and_then(|()| expected.grow(&daemon)) else { return daemon };
        daemon.kill();
        seen.lost.push(format!("{last:?}: {lost}"));
        *expected = Expected::default();
        let daemon = self.start(machine, seen);
        expected.check(&daemon, &[NEW]).and_then(|()| expected.grow(&daemon)).unwrap();
        daemon
    }

    /// Starts a daemon without load. The cut comes while it opens its data, or when it has.
    fn open(&self, cut: Cut, machine: &Machine, seen: &Seen) {
        machine.disk.lock().cut_after(cut.writes, cut.keep);
        let daemon = self.start(machine, seen);
        let serves = || daemon.log().contains(r#""message":"serving""#);
        until("it is cut, or serves", || machine.disk.lock().was_cut().is_some() || serves());
        machine.cut(cut.keep);
        daemon.kill();
    }

    fn data(machine: &Machine, seen: &Seen) -> PathBuf {
        machine.data(&seen.lost.len().to_string())
    }

    fn start(&self, machine: &Machine, seen: &Seen) -> Daemon {
        machine.start(&Self::data(machine, seen), self.env)
    }
}

impl Loaded {
    fn new(load: Load, acknowledged: usize, daemon: &Daemon) -> Self {
        let (_, metrics) = daemon.operations("/metrics");
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
            line.trim_end_matches(".0").parse().unwrap()
        };
        let (commits, events) = (value("cleat_batch_events_count"), value("cleat_batch_events_sum"));
        Self { load, acknowledged, commits, events }
    }
}
