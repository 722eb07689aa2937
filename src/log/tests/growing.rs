//! Blocks that grow under light load: few and full in the end, whoever reads or crashes meanwhile.

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::damage::copy_tree;
use super::*;
use crate::blocklog::{Header, VALUE_BYTES_MAX};

/// The first and last positions of all blocks, and how large each is, chunks aside.
fn blocks(store: &dyn Store, last: u64) -> Vec<(u64, u64, usize)> {
    let mut found = Vec::new();
    let mut next = 1;
    while next <= last {
        let (key, value) = store.floor(Key::block(next)).unwrap().unwrap();
        let header = Header::read(&value).unwrap();
        assert_eq!((key, header.first), (Key::block(next), next), "blocks join up");
        found.push((next, header.last(), value.len()));
        next = header.last() + 1;
    }
    found
}

/// As of a real webhook: some 700 B, of which a part does not compress.
fn body(n: u64) -> Vec<u8> {
    let random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let part = |at: u32| random.rotate_left(at * 13) ^ random >> at;
    let links = format!("{:016x}{:016x}{:016x}{:016x}", part(0), part(1), part(2), part(3));
    format!("{{\"id\":\"{n}\",\"type\":\"patient.ehi_export_success\",\"data\":{{\"link\":\"{links}\"}}}}").into()
}

/// A log in a directory, with the store under it.
fn open_at(directory: &Path) -> (Log, Arc<SledStore>) {
    let (store, marks) = sled(directory);
    let disk = Disk { store: store.clone(), marks, runs: Arc::new(MemoryStore::default()) };
    (super::super::open::open_on(disk, Known::nothing(), options()).unwrap(), store)
}

#[derive(Debug, Clone)]
enum Step {
    /// So many at once.
    Append(u64),
    /// One whose body does not compress, of so many bytes.
    Large(usize),
    Tail,
    Get(u64),
    Reopen,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1..4u64).prop_map(Step::Append),
        2 => (4..90u64).prop_map(Step::Append),
        1 => (1000..20_000usize).prop_map(Step::Large),
        4 => Just(Step::Tail),
        4 => any::<u64>().prop_map(Step::Get),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ]
}

/// A log as it goes, and what must be in it.
struct Run {
    directory: tempfile::TempDir,
    log: Log,
    store: Arc<SledStore>,
    expected: Vec<(Appended, Delivery)>,
    /// Where a start, or an event too large to join, ended a block.
    ended_at: Vec<u64>,
}

impl Run {
    fn append(&mut self, bodies: &[Vec<u8>]) {
        let first = self.expected.len();
        let named = bodies.iter().enumerate().map(|(n, body)| delivery(&(first + n).to_string(), body));
        let deliveries: Vec<_> = named.collect();
        let results = append_all(&self.log, deliveries.clone());
        let appended = results.into_iter().map(Result::unwrap);
        let mut new: Vec<_> = appended.zip(deliveries).collect();
        new.sort_by_key(|(appended, _)| appended.position);
        self.expected.extend(new);
    }

    fn check(&self, event: &Event) {
        let (appended, delivery) = &self.expected[usize::try_from(event.position).unwrap() - 1];
        assert_eq!((event.chain, event.recorded_at), (appended.chain, appended.recorded_at));
        assert!(event.delivery == *delivery, "the event at {} is not what was appended", event.position);
    }

    /// Closed, or as a kill leaves it.
    fn reopen(self, killed: bool) -> Self {
        let Self { directory, log, store, expected, mut ended_at } = self;
        let copy = tempfile::tempdir().unwrap();
        if killed {
            copy_tree(directory.path(), copy.path());
        }
        drop(store);
        close(log);
        let directory = if killed { copy } else { directory };
        let (log, store) = open_at(directory.path());
        ended_at.push(expected.len() as u64);
        Self { directory, log, store, expected, ended_at }
    }

    fn step(mut self, step: &Step) -> Self {
        let last = self.expected.len() as u64;
        match *step {
            Step::Append(count) => self.append(&(last..last + count).map(body).collect::<Vec<_>>()),
            Step::Large(len) => {
                let random = (0..len as u64).map(|n| body(n * last + 7)[12 + (n % 3) as usize]);
                self.append(&[random.collect()]);
                self.ended_at.extend([last, last + 1]);
            }
            Step::Tail => {
                let events = read_all(&self.log.reader);
                assert_eq!(events.len() as u64, last);
                for event in &events {
                    self.check(event);
                }
            }
            Step::Get(at) => {
                let event = self.log.reader.get(at % (last + 1)).unwrap();
                if let Some(event) = &event {
                    self.check(event);
                }
                assert_eq!(event.is_some(), !at.is_multiple_of(last + 1));
            }
            Step::Reopen | Step::Kill => return self.reopen(matches!(step, Step::Kill)),
        }
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn growing_blocks_are_the_events_that_were_appended_whatever_comes_between(
        steps in prop::collection::vec(step(), 1..50)
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (log, store) = open_at(directory.path());
        let mut run = Run { directory, log, store, expected: Vec::new(), ended_at: Vec::new() };
        for step in steps.iter().chain(&[Step::Tail, Step::Kill, Step::Tail]) {
            run = run.step(step);
        }
        // Adjacent blocks hold more together than goes into one, but for where one was closed by a start.
        let blocks = blocks(&*run.store, run.expected.len() as u64);
        for pair in blocks.windows(2) {
            let closed = pair.iter().any(|(_, last, _)| run.ended_at.contains(last) || *last == run.expected.len() as u64);
            prop_assert!(closed || pair[0].2 + pair[1].2 > VALUE_BYTES_MAX * 3 / 4, "{pair:?} of {blocks:?}");
        }
        close(run.log);
    }
}

#[test]
fn events_that_come_one_by_one_end_up_in_full_blocks_that_are_a_sixth_of_the_space() {
    const EVENTS: u64 = 1000;
    let directory = tempfile::tempdir().unwrap();
    let (log, store) = open_at(directory.path());
    for n in 1..=EVENTS {
        assert_eq!(append(&log, &n.to_string(), &body(n)).unwrap().position, n);
    }
    let blocks = blocks(&*store, EVENTS);
    let (_, full) = blocks.split_last().unwrap();
    assert!(full.iter().all(|(_, _, len)| *len >= VALUE_BYTES_MAX * 7 / 8), "{blocks:?}");
    assert!(blocks.len() as u64 * 15 < EVENTS, "{} blocks", blocks.len());
    close(log);
}

#[test]
fn a_reader_beside_growing_blocks_sees_every_event_once() {
    const EVENTS: u64 = 2000;
    let directory = tempfile::tempdir().unwrap();
    let (log, _store) = open_at(directory.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..=EVENTS).for_each(|n| assert_eq!(append(&log, &n.to_string(), &body(n)).unwrap().position, n));
            done.store(true, Ordering::SeqCst);
        });
        let mut tail = log.reader.tail(0);
        let mut seen = 0;
        while seen < EVENTS {
            let finished = done.load(Ordering::SeqCst);
            for event in tail.read().unwrap() {
                seen += 1;
                assert_eq!(event.position, seen);
                let back = log.reader.get(seen - seen / 7).unwrap().unwrap();
                assert_eq!(back.position, seen - seen / 7);
            }
            assert!(!finished || seen == EVENTS || log.reader.head().position > seen);
        }
    });
    close(log);
}

#[test]
fn a_crash_before_the_sync_of_a_grown_block_leaves_what_was_acknowledged() {
    for acknowledged in 1..60 {
        let under = Arc::new(MemoryStore::default());
        let store = Arc::new(FailingStore::over(under.clone()));
        let log = open_on(store.clone(), options()).unwrap();
        (1..=acknowledged).for_each(|n| assert_eq!(append(&log, &n.to_string(), &body(n)).unwrap().position, n));
        let before = under.entries.lock().unwrap().clone();
        // The block is there with one event more, and its sync fails.
        store.fail_after(1);
        assert!(append(&log, "more", &body(0)).is_err());
        close(log);
        for kept in [before, under.entries.lock().unwrap().clone()] {
            let crashed = MemoryStore::default();
            *crashed.entries.lock().unwrap() = kept;
            *crashed.mark.lock().unwrap() = under.mark.lock().unwrap().clone();
            let reopened = open_on(Arc::new(crashed), options()).unwrap();
            let events = read_all(&reopened.reader);
            assert!((acknowledged..=acknowledged + 1).contains(&(events.len() as u64)));
            assert!(append(&reopened, "1", &body(1)).unwrap().duplicate);
            close(reopened);
        }
    }
}
