//! One disk, and the cuts it goes through: each time a daemon comes up on what the last cut left, is looked at, and cut.

use std::path::{Path, PathBuf};

use super::disk::{Disk, Keep};
use super::fuse::{DiskFile, SharedDisk};
use super::load::Load;
use super::mount::{Mounted, make_ext4};
use super::recovered::Expected;
use crate::support::{Daemon, Launch, until};

const DISK_BYTES: usize = 512 * 1024 * 1024;

#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Part of its events' ids.
    pub name: u64,
    /// None: the cut comes while the daemon opens its data.
    pub load: Option<Load>,
    /// So many writes of the disk after the load, or after the daemon's start.
    pub writes: u32,
    pub keep: Keep,
}

/// What came of the cuts.
#[derive(Debug, Default)]
pub struct Seen {
    pub cuts: usize,
    /// Cuts that found writes on their way, not synced yet.
    pub in_flight: usize,
    pub loads: Vec<Loaded>,
    /// Dedup runs, checkpoints and segments that were there in the end.
    pub runs: usize,
    pub checkpoints: usize,
    pub segments: usize,
    /// What a daemon did not have, or why it did not serve.
    pub lost: Vec<String>,
}

/// What one load was, up to its cut.
#[derive(Debug)]
pub struct Loaded {
    pub load: Load,
    pub acknowledged: usize,
    /// Of this daemon, by its own count.
    pub commits: u64,
    pub events: u64,
}

pub struct Rounds<'a> {
    pub directory: &'a Path,
    pub env: &'a [(&'a str, &'a str)],
}

impl Rounds<'_> {
    pub fn run(&self, cuts: impl Iterator<Item = Cut>) -> Seen {
        let disk = SharedDisk::new(Disk::blank(DISK_BYTES));
        let file = DiskFile::mount(disk.clone(), &self.directory.join("fuse")).unwrap();
        make_ext4(&file.path);
        disk.lock().sync();
        let (mut seen, mut expected) = (Seen::default(), Expected::default());
        let mut last = None;
        for cut in cuts {
            let mounted = Mounted::mount(&file.path, &self.directory.join("ext4"));
            match cut.load {
                None => self.open(cut, &mounted, &seen, &disk),
                Some(load) => {
                    let daemon = self.recover(last, &mounted, &mut seen, &mut expected);
                    expected.acknowledged = load.run(cut.name, daemon.webhooks, &disk, (cut.writes, cut.keep));
                    seen.loads.push(Loaded::new(load, expected.acknowledged.len(), &daemon));
                    daemon.kill();
                }
            }
            drop(mounted);
            seen.cuts += 1;
            seen.in_flight += usize::from(disk.lock().was_cut() > Some(0));
            disk.lock().power_on();
            last = Some(cut);
        }
        let mounted = Mounted::mount(&file.path, &self.directory.join("ext4"));
        self.recover(last, &mounted, &mut seen, &mut expected).kill();
        let data = Self::data(&mounted, &seen);
        (seen.runs, seen.checkpoints) = (count(&data, "run"), count(&data, "checkpoint"));
        seen.segments = count(&data, "seg");
        seen
    }

    /// A daemon over what the last cut left; over a new directory if that was too little.
    fn recover(&self, last: Option<Cut>, mounted: &Mounted, seen: &mut Seen, expected: &mut Expected) -> Daemon {
        let daemon = self.start(mounted, seen);
        let Err(lost) = expected.look(&daemon) else { return daemon };
        daemon.kill();
        seen.lost.push(format!("{last:?}: {lost}"));
        *expected = Expected::default();
        let daemon = self.start(mounted, seen);
        expected.look(&daemon).unwrap();
        daemon
    }

    /// Nobody sends anything; it is cut while it opens, or when it has.
    fn open(&self, cut: Cut, mounted: &Mounted, seen: &Seen, disk: &SharedDisk) {
        disk.lock().cut_after(cut.writes, cut.keep);
        let daemon = self.start(mounted, seen);
        let serves = || daemon.log().contains(r#""message":"serving""#);
        until("it is cut, or serves", || disk.lock().was_cut().is_some() || serves());
        let mut disk = disk.lock();
        if disk.was_cut().is_none() {
            disk.cut_after(0, cut.keep);
        }
        drop(disk);
        daemon.kill();
    }

    fn data(mounted: &Mounted, seen: &Seen) -> PathBuf {
        mounted.directory.join(format!("data-{}", seen.lost.len()))
    }

    fn start(&self, mounted: &Mounted, seen: &Seen) -> Daemon {
        let data = Self::data(mounted, seen);
        // Small ones: cuts come while journals, runs and checkpoints follow one another.
        let config = "[log]\ndedup_run_events = 100\njournal_bytes = \"1MiB\"\ndisk_reserve = \"8MiB\"\n\
                      [views]\ncheckpoint_events = 50\n";
        Launch { data: Some(&data), env: self.env, config, ..Launch::new(self.directory) }.start()
    }
}

/// The files below a directory that end so.
fn count(directory: &Path, ending: &str) -> usize {
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let ends_so = |path: &Path| usize::from(path.extension().is_some_and(|it| it == ending));
    let count = |path: PathBuf| if path.is_dir() { count(&path, ending) } else { ends_so(&path) };
    paths.map(count).sum()
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
