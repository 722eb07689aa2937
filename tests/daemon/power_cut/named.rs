//! Cuts at named points, one after another on one disk. A daemon starts on the state that the last cut left, is
//! checked, and is frozen at the next point; then the power is cut.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cleat::event::{Delivery, EventKey, Identity, Timestamp};
use cleat::log::{LogOptions, NewLog, TimeEvidence, TimeSource};
use cleat::proto::RebuildViewsRequest;
use cleat::proto::admin_service_client::AdminServiceClient;
use testkit::delivery::webhook;

use super::disk::Keep;
use super::load::{Acknowledged, body};
use super::machine::{Machine, write_back};
use super::points::{Before, Left, Point, When};
use super::recovered::Expected;
use crate::faults::{Faults, Rule};
use crate::support::{Api, Daemon, Sender, until};

/// Longest wait for a point: some twenty times the usual time.
const PATIENCE: Duration = Duration::from_secs(20);
const SENDERS: usize = 6;
/// Number of small segments above which they are merged.
const SMALL_MAX: usize = 64;

pub struct Named<'a> {
    machine: Machine,
    faults: &'a Faults,
    /// Events that the directory in use must hold.
    expected: Expected,
    data: PathBuf,
    /// A log of many small segments, on another disk.
    seed: PathBuf,
    cuts: usize,
}

impl<'a> Named<'a> {
    pub fn new(directory: &Path, faults: &'a Faults) -> Self {
        let machine = Machine::new(directory);
        let seed = directory.join("seed");
        make_small_segments(&seed);
        let data = machine.data("0");
        Self { machine, faults, expected: Expected::default(), data, seed, cuts: 0 }
    }

    /// Cuts the power at a point and checks the state that is left. Returns the number of pages that were not synced at
    /// the cut.
    pub fn cut(&mut self, point: &Point, left: Left) -> Result<usize, String> {
        self.cuts += 1;
        self.prepare(point);
        self.faults.disarm();
        let is_start = matches!(point.when, When::Made | When::Start(_) | When::Merge(_));
        if is_start {
            self.faults.arm();
        }
        let env = self.faults.env(&point.rule);
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        let daemon = self.machine.start(&self.data, &env);
        let frozen = if is_start {
            let frozen = self.freeze(&daemon, left);
            daemon.kill();
            frozen
        } else {
            let daemon = daemon.ready();
            self.faults.arm();
            self.load(point, daemon, left)
        };
        frozen.map_err(|log| format!("it was never there: {log}"))?;
        assert_eq!(self.faults.hits().len(), 1);
        self.faults.disarm();
        let unsynced = self.machine.power_on_again();
        self.recover(point)?;
        Ok(unsynced)
    }

    /// Checks the state that is left, and adds an event, so that the next start has a journal to seal.
    fn recover(&mut self, point: &Point) -> Result<(), String> {
        let daemon = self.machine.start(&self.data, &[]);
        let checked = self.expected.check(&daemon, point.notes()).and_then(|()| self.expected.grow(&daemon));
        let checked = checked.map_err(|lost| format!("{lost}\n{}", daemon.log()));
        daemon.kill();
        checked
    }

    /// Cuts the power once the daemon is frozen. The error is the daemon's log if it never is.
    fn freeze(&self, daemon: &Daemon, left: Left) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !daemon.is_stopped() {
            if Instant::now() > deadline {
                return Err(daemon.log());
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.cut_now(left);
        Ok(())
    }

    fn cut_now(&self, left: Left) {
        let seed = self.expected.len() as u64;
        let keep = match left {
            Left::Nothing | Left::All => Keep::Nothing,
            Left::Torn if seed.is_multiple_of(2) => Keep::Half { piece: 512, seed },
            Left::Torn => Keep::Half { piece: 4096, seed },
        };
        match left {
            Left::Nothing => {}
            Left::Torn => {
                write_back(&self.data);
                self.machine.wait_for_write_back();
            }
            Left::All => self.machine.sync(),
        }
        self.machine.cut(keep);
    }

    /// Sends until the daemon is frozen. All answers come before the cut.
    fn load(&mut self, point: &Point, daemon: Daemon, left: Left) -> Result<(), String> {
        let acknowledged = Mutex::new(Vec::new());
        let number = self.cuts;
        let length = if matches!(point.when, When::Filling) { 200_000 } else { 600 };
        let frozen = thread::scope(|scope| {
            // Killed with the closure, also if this panics, so that the senders end.
            let daemon = daemon;
            for sender in 0..SENDERS {
                let (connection, acknowledged) = (Sender::connect(daemon.webhooks).unwrap(), &acknowledged);
                scope.spawn(move || send(connection, &format!("{number}-{sender}"), length, acknowledged));
            }
            if matches!(point.when, When::Rebuild) {
                let api = Api::connect(daemon.grpc);
                // The daemon may be frozen before it answers.
                scope.spawn(move || {
                    drop(api.wait(AdminServiceClient::new(api.channel()).rebuild_views(RebuildViewsRequest {})));
                });
            }
            let frozen = self.freeze(&daemon, left);
            daemon.kill();
            frozen
        });
        self.expected.acknowledged = acknowledged.into_inner().unwrap();
        frozen
    }

    fn prepare(&mut self, point: &Point) {
        let before = match point.when {
            When::Made => {
                self.data = self.machine.data(&self.cuts.to_string());
                self.expected = Expected::default();
                return;
            }
            When::FirstCommit | When::Load | When::Filling | When::Rebuild => return,
            When::Start(before) => before,
            When::Merge(before) => {
                self.data = self.machine.data(&self.cuts.to_string());
                copy(&self.seed, &self.data);
                self.expected = Expected::of((0..=SMALL_MAX).map(seed_id));
                before
            }
        };
        match before {
            Before::Nothing => {}
            Before::Lost(name) => remove(&self.data.join(name)),
            Before::Damaged(name) => flip(&self.data.join(name)),
            Before::Killed(rule) => self.kill_at(point, &rule),
            Before::Unsealed(rule) => {
                self.kill_at(point, &rule);
                let mut segments: Vec<PathBuf> =
                    files(&self.data.join("log")).filter(|path| is_segment(path)).collect();
                segments.sort();
                flip(segments.last().unwrap());
            }
        }
        self.machine.sync();
    }

    fn kill_at(&self, point: &Point, rule: &Rule) {
        self.faults.disarm();
        self.faults.arm();
        let env = self.faults.env(rule);
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        let daemon = self.machine.start(&self.data, &env);
        until(&format!("the start before is frozen: {}", point.name), || daemon.is_stopped());
        daemon.kill();
    }
}

fn send(mut connection: Sender, name: &str, length: usize, acknowledged: &Mutex<Vec<Acknowledged>>) {
    for n in 0.. {
        let id = format!("{name}-{n}");
        let body = body(&id, n, length);
        let Ok(delivered) = connection.deliver_patiently(&id, &body) else { return };
        let position = delivered.as_new().unwrap_or_else(|| panic!("{id} was never sent before"));
        acknowledged.lock().unwrap().push(Acknowledged { id, body, position });
    }
}

fn seed_id(n: usize) -> String {
    format!("seed-{n}")
}

/// Makes a log of many small segments: each life of it leaves a journal, and the next one seals this.
fn make_small_segments(directory: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 0..=SMALL_MAX {
        let time = TimeSource::trusted(Arc::new(|| Timestamp::from_micros(1_790_000_000_000_000)));
        let fresh = NewLog::new(Identity { log_id: 7, epoch: 8 }, [9; 32]);
        let log = cleat::log::open(directory, LogOptions::new(time, fresh)).unwrap();
        let id = seed_id(n);
        let (key, body) = (EventKey::of(Some(&id), ""), body(&id, n, 600));
        let delivery = Delivery { tenant: "default".into(), webhook_id: id, ..webhook(Some(key), body) };
        runtime.block_on(log.appender.append(delivery, TimeEvidence::Signed)).unwrap();
        drop(log.appender);
        log.writer.join().unwrap();
    }
}

fn files(directory: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path())
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for path in files(from) {
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

fn remove(path: &Path) {
    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
}

/// Changes a byte in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
