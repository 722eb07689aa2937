//! Runs a daemon through its faults while others write and watch, and collects the sessions of the watchers.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cleat::proto::ReadEventsRequest;
use cleat::proto::event_service_client::EventServiceClient;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::asks::{ENTITIES, EVENTS};
use super::history::{Fault, Generation, History, Session};
use super::spoiling_proxy::{self, Spoiling};
use super::story::Sample;
use super::watcher::{Place, Watcher};
use super::writers::{Door, Writers};
use crate::support::{Api, Daemon, Launch, until};

/// Connections to the daemon. Each has fewer streams than the daemon takes on one.
const CHANNELS: usize = 8;
/// One watcher in this many watches events.
const OF_EVENTS: usize = 5;
/// Ring and maximum age are small enough that watchers that pause fall behind, and that some watches reach the age.
const GRPC: &str = "watch_ring = 60\nwatch_max_age = \"2s\"\nmax_watches = 1200\nmax_watches_per_caller = 1200";
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub watchers: usize,
    pub faults: Vec<Fault>,
    /// Maximum of events to wait for between two faults.
    pub events: usize,
    /// Pause of each writer between two events.
    pub pause: Duration,
    /// Proxy that watches of connections go through. `None` if they go directly to the daemon.
    pub proxy: Option<Spoiling>,
}

pub fn run(plan: &Plan) -> History {
    let mut driver = Driver::start(plan);
    let watchers = driver.watchers(plan);
    let mut faults = plan.faults.clone();
    faults.shuffle(&mut driver.random);
    for fault in &faults {
        driver.events(plan.events);
        driver.suffer(*fault, plan.events);
    }
    driver.events(plan.events);
    driver.finish(faults, watchers)
}

struct Driver {
    directory: TempDir,
    runtime: Runtime,
    random: StdRng,
    proxy: Option<Spoiling>,
    /// The running daemon. `None` while there is none.
    daemon: Option<Daemon>,
    writers: Arc<Writers>,
    places: watch::Sender<Place>,
    last: watch::Sender<Option<u64>>,
    generations: Vec<Generation>,
    /// Origin of the current generation, for [`Generation::copy_of`].
    copy_of: Option<(usize, u64)>,
    killed: HashSet<usize>,
}

impl Driver {
    fn start(plan: &Plan) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let daemon = start(&directory);
        let durable = Arc::<AtomicU64>::default();
        let door = Door { address: daemon.webhooks, durable: durable.clone() };
        let (connection_channels, event_channels) = channels(&runtime, &daemon, plan.proxy);
        let place = Place { generation: 0, run: 0, connection_channels, event_channels, durable };
        Self {
            directory,
            runtime,
            random: StdRng::seed_from_u64(plan.seed),
            proxy: plan.proxy,
            daemon: Some(daemon),
            writers: Arc::new(Writers::start(plan.seed, door, plan.pause)),
            places: watch::Sender::new(place),
            last: watch::Sender::new(None),
            generations: Vec::new(),
            copy_of: None,
            killed: HashSet::new(),
        }
    }

    fn watchers(&mut self, plan: &Plan) -> JoinSet<Vec<Session>> {
        let mut watchers = JoinSet::new();
        for number in 0..plan.watchers {
            let asks = if number % OF_EVENTS == 0 { EVENTS } else { ENTITIES[number % ENTITIES.len()] };
            let random = StdRng::seed_from_u64(self.random.random());
            let watcher = Watcher::new(number, asks, random, self.places.subscribe(), self.last.subscribe());
            watchers.spawn_on(watcher.run(), self.runtime.handle());
        }
        watchers
    }

    /// Waits until some more events are acknowledged.
    fn events(&mut self, max: usize) {
        let wanted = self.writers.count() + self.random.random_range(max / 4..max);
        until("more events are taken", || self.writers.count() >= wanted);
    }

    fn suffer(&mut self, fault: Fault, events: usize) {
        match fault {
            Fault::Kill => {
                self.kill();
                self.start_again();
            }
            Fault::Stop => {
                self.stop();
                self.start_again();
            }
            Fault::Pause => {
                let daemon = self.daemon.as_ref().unwrap();
                daemon.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(self.random.random_range(50..1500)));
                daemon.signal(Signal::CONT);
            }
            Fault::AnotherLog => self.replace(None),
            Fault::OlderCopy => {
                self.stop();
                let copy = self.directory.path().join(format!("copy-{}", self.generations.len()));
                copy_files(&self.data(), &copy);
                self.start_again();
                self.events(events);
                self.replace(Some(copy));
            }
        }
    }

    fn kill(&mut self) {
        self.killed.insert(self.places.borrow().run);
        self.daemon.take().unwrap().kill();
    }

    fn stop(&mut self) {
        assert!(self.daemon.take().unwrap().terminate().success());
    }

    /// Starts a daemon over the same data.
    fn start_again(&mut self) {
        let daemon = start(&self.directory);
        self.announce(daemon, |_| ());
    }

    /// Replaces the daemon's data with an older copy, or with nothing. Another generation begins.
    fn replace(&mut self, copy: Option<PathBuf>) {
        let writers = self.writers.clone();
        let held = writers.hold();
        self.end_generation();
        self.kill();
        std::fs::remove_dir_all(self.data()).unwrap();
        if let Some(copy) = &copy {
            std::fs::rename(copy, self.data()).unwrap();
        }
        let daemon = start(&self.directory);
        let head = Api::connect(daemon.grpc).head();
        self.copy_of = copy.map(|_| (self.generations.len() - 1, head));
        let durable = Arc::new(AtomicU64::new(head));
        self.announce(daemon, |place| {
            place.generation += 1;
            place.durable = durable;
        });
        drop(held);
    }

    fn announce(&mut self, daemon: Daemon, change: impl FnOnce(&mut Place)) {
        let channels = channels(&self.runtime, &daemon, self.proxy);
        self.places.send_modify(|place| {
            place.run += 1;
            (place.connection_channels, place.event_channels) = channels;
            change(place);
        });
        let durable = self.places.borrow().durable.clone();
        self.writers.send_to(Door { address: daemon.webhooks, durable });
        self.daemon = Some(daemon);
    }

    /// Records the end of a generation. Everything sent must be acknowledged, and nothing may be sent meanwhile.
    fn end_generation(&mut self) -> u64 {
        let log = self.log();
        let last = log.len() as u64;
        let acknowledged = self.writers.acknowledged();
        let copy_of = self.copy_of.take();
        self.generations.push(Generation { log, copy_of, acknowledged });
        last
    }

    fn log(&self) -> Vec<Arc<Sample>> {
        let api = Api::connect(self.daemon.as_ref().unwrap().grpc);
        let mut client = EventServiceClient::new(api.channel());
        let request = ReadEventsRequest { from_position: 1, ..Default::default() };
        let mut messages = api.wait(client.read_events(request)).unwrap().into_inner();
        let mut log = Vec::new();
        while let Some(message) = api.wait(messages.message()).unwrap() {
            for event in message.events {
                log.push(self.writers.sample(event.event_key.strip_prefix("id:").unwrap()));
                assert_eq!(event.position, log.len() as u64, "positions have no gaps");
            }
        }
        log
    }

    fn finish(mut self, faults: Vec<Fault>, watchers: JoinSet<Vec<Session>>) -> History {
        let writers = self.writers.clone();
        let held = writers.hold();
        let last = self.end_generation();
        self.last.send_replace(Some(last));
        let sessions = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, watchers.join_all()).await });
        let watchers = sessions.expect("every watcher receives everything");
        drop(held);
        self.stop();
        History { faults, generations: self.generations, killed: self.killed, watchers }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

fn start(directory: &TempDir) -> Daemon {
    let launch = Launch { grpc_keys: GRPC, ..Launch::new(directory.path()) };
    launch.start().ready()
}

/// Returns the channels for watches of connections, and the channels for watches of events. Starts the proxy, if any:
/// each start of the daemon has its own, so that no watch reaches a later start.
fn channels(runtime: &Runtime, daemon: &Daemon, proxy: Option<Spoiling>) -> (Arc<[Channel]>, Arc<[Channel]>) {
    let _runtime = runtime.enter();
    let direct = channels_to(daemon.grpc);
    let proxied = proxy.map(|spoiling| channels_to(spoiling_proxy::start(direct[0].clone(), spoiling)));
    (proxied.unwrap_or_else(|| direct.clone()), direct)
}

fn channels_to(address: SocketAddr) -> Arc<[Channel]> {
    // A slow reader's stream fills soon. Its connection, which others share, does not.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(1 << 30);
    (0..CHANNELS).map(|_| endpoint.connect_lazy()).collect()
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if from.is_dir() {
            copy_files(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}
