//! The data directory that all cases copy, the events that the daemon acknowledged over it, and the copies that replace
//! its files: older ones of the same log, and those of other logs. Real daemons make them, over several lives.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tempfile::TempDir;

use super::harm::Kind;
use super::tree::Tree;
use crate::support::{Daemon, Launch, Sender, until};
use crate::workload::Sample;

/// Small limits, so that a directory of a few megabytes has several files of each kind.
pub const CONFIG: &str = "[log]\ndedup_run_events = 100\njournal_bytes = \"1MiB\"\ndisk_reserve = \"8MiB\"\n\
                          [views]\ncheckpoint_events = 50\n";
/// A fixed mode. Without it, an unreadable body would be of no known mode and claim no key.
pub const ENDPOINT: &str = "api_mode = \"live\"";
/// Number of events of each life. Those of the last two are in journals.
pub const LIVES: [u64; 5] = [110, 80, 90, 80, 90];
/// Life after which the older copy is made.
const OLDER_AFTER: usize = 1;
const SENDERS: u64 = 3;

/// Directories and events for the cases.
pub struct Prepared {
    /// The whole directory, as a kill left it: three segments, a closed journal, the last one, and the next one, which
    /// is blank.
    pub tree: Tree,
    /// The same log at rest, after its second life.
    pub older: Tree,
    /// Files of the journals, half filled.
    pub half: Tree,
    /// A log with other events at the same positions, in files of the same names.
    pub other: Tree,
    /// A log whose last two journals begin where ours end.
    pub longer: Tree,
    /// A log whose closed journal begins and ends within ours.
    pub inner: Tree,
    /// Acknowledged events, from position 1.
    pub events: Vec<Sample>,
}

/// Returns the directories. They are made once, on first use.
pub fn prepared() -> &'static Prepared {
    static PREPARED: LazyLock<Prepared> = LazyLock::new(Prepared::new);
    &PREPARED
}

/// A log that is being made.
struct Making {
    directory: TempDir,
    /// Distinguishes its events from those of other logs.
    name: &'static str,
    events: Vec<Sample>,
    half: Tree,
    /// Files of the last journal but one, full.
    waiting: Tree,
    /// Files of the last journal, before anything was written to it.
    blank: Tree,
}

impl Prepared {
    fn new() -> Self {
        thread::scope(|scope| {
            let ours = scope.spawn(ours);
            let other = scope.spawn(move || Making::new("other").lives(LIVES, |_, _| {}).closed());
            let longer = [LIVES.iter().sum::<u64>() + 20, 1, 1, 40, 40];
            let longer = scope.spawn(move || Making::new("longer").lives(longer, |_, _| {}).closed());
            let inner = scope.spawn(|| Making::new("inner").lives([150, 60, 80, 50, 10], |_, _| {}).closed());
            let (tree, older, half, events) = ours.join().unwrap();
            let [other, longer, inner] = [other, longer, inner].map(|tree| tree.join().unwrap());
            Self { tree, older, half, other, longer, inner, events }
        })
    }

    pub fn head(&self) -> u64 {
        self.events.len() as u64
    }
}

fn ours() -> (Tree, Tree, Tree, Vec<Sample>) {
    let mut older = Tree::default();
    let made = Making::new("ours").lives(LIVES, |life, data| {
        if life == OLDER_AFTER {
            older = Tree::read(data);
        }
    });
    (made.closed(), older, made.half, made.events)
}

impl Making {
    fn new(name: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            directory,
            name,
            events: Vec::new(),
            half: Tree::default(),
            waiting: Tree::default(),
            blank: Tree::default(),
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Runs a daemon for each life. `after` sees the directory after each life.
    fn lives(mut self, lives: [u64; 5], mut after: impl FnMut(usize, &Path)) -> Self {
        for (life, count) in lives.into_iter().enumerate() {
            let daemon =
                Launch { config: CONFIG, endpoint: ENDPOINT, ..Launch::new(self.directory.path()) }.start().ready();
            let data = self.data();
            until("all that came before is sealed", || segments_in(&data) == life);
            if life + 1 == lives.len() {
                until("the journal of this life is opened", || {
                    self.blank = Tree::read_part(&data, "log").part(is_journal);
                    thread::sleep(Duration::from_millis(50));
                    let [_] = &Kind::BlankJournal.paths(&self.blank)[..] else { return false };
                    Tree::read_part(&data, "log").part(is_journal) == self.blank
                });
            }
            self.send(&daemon, life, count / 2);
            self.half.put(Tree::read_part(&self.data(), "log").part(is_journal));
            self.send(&daemon, life, count - count / 2);
            if life % 2 == 0 && life + 1 < lives.len() {
                assert!(daemon.terminate().success());
            } else {
                daemon.kill();
            }
            if life + 2 == lives.len() {
                let left = Tree::read(&self.data());
                let filled = Kind::LastJournal.paths(&left).pop().unwrap();
                self.waiting = left.part(|path| path.starts_with(filled.parent().unwrap()));
            }
            after(life, &self.data());
        }
        self
    }

    /// Returns the directory as if the last daemon had been killed before it sealed the journal of the life before, and
    /// after its own journal was half full.
    fn closed(&self) -> Tree {
        let mut tree = Tree::read(&self.data());
        let is_segment = |path: &Path| path.extension().is_some_and(|extension| extension == "seg");
        let sealed = tree.files(|path| path.starts_with("log") && is_segment(path));
        tree.remove(sealed.last().unwrap());
        tree.put(self.waiting.clone());
        let last = Kind::BlankJournal.paths(&self.blank).remove(0).parent().unwrap().to_owned();
        let sequence: u64 = last.to_str().unwrap().rsplit_once('-').unwrap().1.parse().unwrap();
        tree.put(self.blank.moved(&last, &last.with_file_name(format!("journal-{:020}", sequence + 1))));
        tree
    }

    /// Sends events with several senders at once, so that a commit has one event or a few. All are answered when this
    /// returns.
    fn send(&mut self, daemon: &Daemon, life: usize, count: u64) {
        let before = self.events.len() as u64;
        let name = self.name;
        let send = |sender: u64| {
            let mut random = StdRng::seed_from_u64((before << 8) + sender);
            let mut connection = Sender::connect(daemon.webhooks).unwrap();
            let mut sent = Vec::new();
            for n in (0..count).filter(|n| n % SENDERS == sender) {
                let sample = Sample::new(&format!("{name}-{life}-{}", before + n), &mut random);
                let delivered = connection.deliver_patiently(&sample.id, &sample.body).unwrap();
                sent.push((delivered.as_new().unwrap(), sample));
            }
            sent
        };
        let mut sent: Vec<_> = thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS).map(|sender| scope.spawn(move || send(sender))).collect();
            senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
        });
        sent.sort_by_key(|(position, _)| *position);
        assert!(sent.iter().map(|(position, _)| *position).eq(before + 1..=before + count), "positions are gapless");
        self.events.extend(sent.into_iter().map(|(_, sample)| sample));
    }
}

fn segments_in(data: &Path) -> usize {
    let names = std::fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).count()
}

fn is_journal(path: &Path) -> bool {
    path.to_string_lossy().starts_with("log/journal-")
}
