//! kill -9 under load, again and again over the same data: what was acknowledged stays, what was not is taken once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{Api, Daemon, Launch, Sender, until};
use crate::workload::{Sample, states, told};

const ROUNDS: u64 = 10;
const SENDERS: u64 = 20;
const ACKNOWLEDGED_MIN: usize = 150;
const ACKNOWLEDGED_MAX: usize = 700;

/// What a sender knows when its connection has broken.
struct Known {
    acknowledged: Vec<(Sample, u64)>,
    unanswered: Sample,
    /// All of that one was sent.
    in_flight: bool,
}

/// The log as it must be: its events from position 1.
#[derive(Default)]
struct Expected(Vec<Sample>);

#[test]
fn an_acknowledged_event_survives_kills_under_load_and_an_unanswered_one_is_taken_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut expected = Expected::default();
    let (mut acknowledged, mut rounds_in_flight) = (0, 0);
    for round in 0..ROUNDS {
        let wanted = StdRng::seed_from_u64(round).random_range(ACKNOWLEDGED_MIN..ACKNOWLEDGED_MAX);
        let known = kill_under_load(start(directory.path()).ready(), round, wanted);
        let count = known.iter().map(|known| known.acknowledged.len()).sum::<usize>();
        assert!(count >= wanted, "round {round}: {count} of {wanted}");
        acknowledged += count;
        rounds_in_flight += usize::from(known.iter().any(|known| known.in_flight));
        expected.survived(directory.path(), known);
    }
    assert!(acknowledged >= 3000, "{acknowledged}");
    assert!(rounds_in_flight >= 7, "{rounds_in_flight} rounds had requests in flight");
    expected.is_all_there(directory.path());
    let files = |directory: &str, ending: &str| {
        let entries = std::fs::read_dir(data.join(directory)).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|it| it == ending)).count()
    };
    let runs = files("dedup", "run");
    assert!(runs >= 25, "{runs} dedup runs");
    assert_eq!(files("views/1", "checkpoint"), 2, "no start had to begin anew");
}

/// With so small ones that each round sees several dedup runs and checkpoints come, and is killed between and in them.
fn start(directory: &Path) -> Daemon {
    let config = "[log]\ndedup_run_events = 100\n[views]\ncheckpoint_events = 50\n";
    Launch { config, endpoint: "api_mode = \"live\"", ..Launch::new(directory) }.start()
}

/// Kills once so many events of this round are acknowledged.
fn kill_under_load(daemon: Daemon, round: u64, wanted: usize) -> Vec<Known> {
    let acknowledged = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (webhooks, acknowledged) = (daemon.webhooks, &acknowledged);
        let start = |sender| {
            let connection = Sender::connect(webhooks).unwrap();
            scope.spawn(move || send_until_broken(connection, round, sender, acknowledged))
        };
        let senders: Vec<_> = (0..SENDERS).map(start).collect();
        until("enough are acknowledged", || acknowledged.load(Ordering::Relaxed) >= wanted);
        daemon.kill();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    })
}

fn send_until_broken(mut connection: Sender, round: u64, sender: u64, count: &AtomicUsize) -> Known {
    let mut random = StdRng::seed_from_u64(round << 32 | sender);
    let mut acknowledged = Vec::new();
    loop {
        let sample = Sample::new(&format!("{round}-{sender}-{}", acknowledged.len()), &mut random);
        let in_flight = connection.begin(&sample.id, &sample.body).is_ok();
        let Ok(answer) = connection.finish() else {
            return Known { acknowledged, unanswered: sample, in_flight };
        };
        let (position, duplicate) = answer.taken();
        assert!(!duplicate, "{} was never sent before", sample.id);
        acknowledged.push((sample, position));
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Expected {
    /// Compares a daemon with what the senders know, sends again what they may doubt, and stops it.
    fn survived(&mut self, directory: &Path, known: Vec<Known>) {
        let daemon = start(directory).ready();
        let api = Api::connect(daemon.grpc);
        let mut sender = Sender::connect(daemon.webhooks).unwrap();
        let (acknowledged, unanswered) = self.grown(&api, known);
        for (sample, position) in acknowledged {
            assert_eq!(self.0[index(position)].key, sample.key);
            assert_eq!(sender.deliver(&sample.id, &sample.body).unwrap().taken(), (position, true));
        }
        for sample in unanswered {
            let found = self.0.iter().position(|it| it.key == sample.key);
            let (position, duplicate) = sender.deliver(&sample.id, &sample.body).unwrap().taken();
            assert_eq!((index(position), duplicate), (found.unwrap_or(self.0.len()), found.is_some()));
            assert_eq!(sender.deliver(&sample.id, &sample.body).unwrap().taken(), (position, true));
            if found.is_none() {
                self.0.push(sample);
            }
        }
        self.agrees(&api);
        // A client that does not read would be waited for.
        drop(api);
        assert!(daemon.terminate().success());
    }

    /// Reads the events that are new in the log: only such as were sent, none twice.
    fn grown(&mut self, api: &Api, known: Vec<Known>) -> (Vec<(Sample, u64)>, Vec<Sample>) {
        let (mut acknowledged, mut unanswered) = (Vec::new(), Vec::new());
        for known in known {
            acknowledged.extend(known.acknowledged);
            unanswered.push(known.unanswered);
        }
        let sent = acknowledged.iter().map(|(sample, _)| sample).chain(&unanswered);
        let mut sent: BTreeMap<String, Sample> = sent.map(|sample| (sample.key.clone(), sample.clone())).collect();
        for position in self.0.len() as u64 + 1..=api.head() {
            let key = key_at(api, position);
            self.0.push(sent.remove(&key).unwrap_or_else(|| panic!("{key} at {position} was not sent, or is twice")));
        }
        (acknowledged, unanswered)
    }

    fn agrees(&self, api: &Api) {
        assert_eq!(api.head(), self.0.len() as u64);
        assert_eq!(told(&api.connections()), states((1..).zip(&self.0)));
    }

    /// After everything, each event of every round.
    fn is_all_there(&self, directory: &Path) {
        let daemon = start(directory).ready();
        let api = Api::connect(daemon.grpc);
        let mut sender = Sender::connect(daemon.webhooks).unwrap();
        for (position, sample) in (1..).zip(&self.0) {
            assert_eq!(key_at(&api, position), sample.key);
            assert_eq!(sender.deliver(&sample.id, &sample.body).unwrap().taken(), (position, true));
        }
        self.agrees(&api);
    }
}

fn key_at(api: &Api, position: u64) -> String {
    let event = api.event(position);
    assert_eq!(event.position, position);
    event.event_key
}

fn index(position: u64) -> usize {
    usize::try_from(position).unwrap() - 1
}
