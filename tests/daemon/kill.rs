//! kill -9 under load, repeatedly over the same data: acknowledged events stay, and unanswered ones are taken once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{Api, Daemon, Launch, Sender, until};
use crate::workload::{Sample, shown_states, states};

const ROUNDS: u64 = 40;
/// Rounds after which the daemon is also stopped in order.
const STOPS_EVERY: u64 = 8;
const SENDERS: u64 = 20;
const ACKNOWLEDGED_MIN: usize = 40;
const ACKNOWLEDGED_MAX: usize = 220;
/// Latest kill by time, in milliseconds.
const LATEST: u64 = 250;

/// Moment of a round's kill.
enum Moment {
    /// The kill comes once this number of the round's events is acknowledged.
    Acknowledged(usize),
    /// The kill comes this long after the senders start.
    After(Duration),
}

impl Moment {
    /// Returns the moment of a round: one round by count, the next by time.
    fn of(round: u64) -> Self {
        let mut random = StdRng::seed_from_u64(round);
        if round.is_multiple_of(2) {
            Self::Acknowledged(random.random_range(ACKNOWLEDGED_MIN..ACKNOWLEDGED_MAX))
        } else {
            Self::After(Duration::from_millis(random.random_range(0..LATEST)))
        }
    }
}

/// Deliveries of a sender whose connection has broken.
struct Known {
    acknowledged: Vec<(Sample, u64)>,
    unanswered: Sample,
    /// Whether the unanswered event was sent completely.
    in_flight: bool,
}

/// The log as it must be: its events from position 1.
#[derive(Default)]
struct Expected(Vec<Sample>);

#[test]
fn kills_under_load_lose_no_acknowledged_event_and_double_none() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut expected = Expected::default();
    let (mut acknowledged, mut rounds_in_flight) = (0, 0);
    let mut daemon = start(directory.path()).ready();
    for round in 0..ROUNDS {
        let known = kill_under_load(daemon, round, &Moment::of(round));
        acknowledged += known.iter().map(|known| known.acknowledged.len()).sum::<usize>();
        rounds_in_flight += u64::from(known.iter().any(|known| known.in_flight));
        daemon = start(directory.path()).ready();
        expected.check_after_kill(&daemon, known);
        if round % STOPS_EVERY == STOPS_EVERY - 1 {
            assert!(daemon.terminate().success());
            daemon = start(directory.path()).ready();
        }
    }
    assert!(acknowledged >= 2500, "{acknowledged}");
    assert!(rounds_in_flight >= ROUNDS * 7 / 10, "{rounds_in_flight} rounds had requests in flight");
    daemon.kill();
    expected.is_all_there(directory.path());
    let files = |directory: &str, ending: &str| {
        let entries = std::fs::read_dir(data.join(directory)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == ending)).count()
    };
    let spans = std::fs::read_dir(data.join("dedup")).unwrap().filter_map(|entry| span(&entry.unwrap().path()));
    let spans: Vec<(u64, u64)> = spans.collect();
    let covered = spans.iter().map(|(after, through)| through - after).sum::<u64>();
    assert!(covered >= 2000 && spans.iter().any(|(after, through)| through - after >= 700), "{spans:?}");
    assert_eq!(files("views/1", "checkpoint"), 2, "no start had to begin again");
}

/// Returns the positions that a dedup run covers, from its name.
fn span(run: &Path) -> Option<(u64, u64)> {
    let (after, through) = run.file_stem()?.to_str()?.split_once('-')?;
    Some((after.parse().ok()?, through.parse().ok()?))
}

/// Starts a daemon with dedup runs and checkpoints so small that each round makes several of them, and is killed
/// between and in them.
fn start(directory: &Path) -> Daemon {
    let config = "[log]\ndedup_run_events = 100\n[views]\ncheckpoint_events = 50\n";
    Launch { config, endpoint: "api_mode = \"live\"", ..Launch::new(directory) }.start()
}

fn kill_under_load(daemon: Daemon, round: u64, moment: &Moment) -> Vec<Known> {
    let acknowledged = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (webhooks, acknowledged) = (daemon.webhooks, &acknowledged);
        let start = |sender| {
            let connection = Sender::connect(webhooks).unwrap();
            scope.spawn(move || send_until_broken(connection, round, sender, acknowledged))
        };
        let senders: Vec<_> = (0..SENDERS).map(start).collect();
        match moment {
            Moment::Acknowledged(wanted) => {
                until("enough are acknowledged", || acknowledged.load(Ordering::Relaxed) >= *wanted);
            }
            Moment::After(time) => thread::sleep(*time),
        }
        daemon.kill();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    })
}

fn send_until_broken(mut connection: Sender, round: u64, sender: u64, count: &AtomicUsize) -> Known {
    let mut random = StdRng::seed_from_u64(round << 32 | sender);
    let mut acknowledged = Vec::new();
    loop {
        let sample = Sample::new(&format!("{round}-{sender}-{}", acknowledged.len()), &mut random);
        let mut in_flight = false;
        let delivered = connection.patiently(|connection| {
            in_flight |= connection.begin(&sample.id, &sample.body).is_ok();
            connection.finish()
        });
        let Ok(delivered) = delivered else {
            return Known { acknowledged, unanswered: sample, in_flight };
        };
        let position = delivered.as_new().unwrap_or_else(|| panic!("{} was never sent before", sample.id));
        acknowledged.push((sample, position));
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Expected {
    /// Compares a daemon with the senders' deliveries, and sends these again.
    fn check_after_kill(&mut self, daemon: &Daemon, known: Vec<Known>) {
        let api = Api::connect(daemon.grpc);
        let mut sender = Sender::connect(daemon.webhooks).unwrap();
        let (acknowledged, unanswered) = self.read_new_events(&api, known);
        assert!(acknowledged.iter().all(|(sample, position)| self.0[index(*position)].key == sample.key));
        let again: Vec<_> = acknowledged.iter().map(|(sample, position)| (*position, sample)).collect();
        are_duplicates(&mut sender, &again);
        for sample in unanswered {
            let found = self.0.iter().position(|known| known.key == sample.key);
            let delivered = sender.deliver_patiently(&sample.id, &sample.body).unwrap();
            let position = if found.is_some() { delivered.as_duplicate() } else { delivered.as_new() }.unwrap();
            assert_eq!(index(position), found.unwrap_or(self.0.len()));
            let again = sender.deliver_patiently(&sample.id, &sample.body).unwrap();
            assert_eq!(again.as_duplicate(), Some(position));
            if found.is_none() {
                self.0.push(sample);
            }
        }
        self.assert_agrees(&api);
    }

    /// Reads all events. Earlier ones must be where they were; new ones must have been sent, and none may come twice.
    fn read_new_events(&mut self, api: &Api, known: Vec<Known>) -> (Vec<(Sample, u64)>, Vec<Sample>) {
        let (mut acknowledged, mut unanswered) = (Vec::new(), Vec::new());
        for known in known {
            acknowledged.extend(known.acknowledged);
            unanswered.push(known.unanswered);
        }
        let sent = acknowledged.iter().map(|(sample, _)| sample).chain(&unanswered);
        let mut sent: BTreeMap<String, Sample> = sent.map(|sample| (sample.key.clone(), sample.clone())).collect();
        let keys = api.keys();
        assert!(keys.len() >= self.0.len() && self.0.iter().zip(&keys).all(|(sample, key)| sample.key == *key));
        for key in &keys[self.0.len()..] {
            self.0.push(sent.remove(key).unwrap_or_else(|| panic!("{key} was not sent, or is twice")));
        }
        (acknowledged, unanswered)
    }

    fn assert_agrees(&self, api: &Api) {
        assert_eq!(api.head(), self.0.len() as u64);
        assert_eq!(shown_states(&api.connections()), states((1..).zip(&self.0)));
    }

    /// Checks, after all rounds, that each of their events is there.
    fn is_all_there(&self, directory: &Path) {
        let daemon = start(directory).ready();
        let api = Api::connect(daemon.grpc);
        assert!(self.0.iter().map(|sample| &sample.key).eq(&api.keys()));
        are_duplicates(&mut Sender::connect(daemon.webhooks).unwrap(), &(1..).zip(&self.0).collect::<Vec<_>>());
        self.assert_agrees(&api);
    }
}

/// Checks that each is answered as a duplicate, with its position.
fn are_duplicates(sender: &mut Sender, samples: &[(u64, &Sample)]) {
    let deliveries: Vec<_> = samples.iter().map(|(_, sample)| (sample.id.as_str(), sample.body.as_slice())).collect();
    for ((position, _), answer) in samples.iter().zip(sender.deliver_all(&deliveries).unwrap()) {
        assert_eq!(answer.taken(), (*position, true));
    }
}

fn index(position: u64) -> usize {
    usize::try_from(position).unwrap() - 1
}
