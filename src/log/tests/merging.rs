//! Readers while blocks are merged between any two of their steps, as sealing will do.

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::blocklog::{Builder, Header, Packer};
use crate::log::reader::read_run;
use crate::log::record::Prepared;

/// The keys and last positions of the blocks that hold `from..=to`.
fn blocks(store: &dyn Store, from: u64, to: u64) -> Vec<(Key, u64)> {
    let mut found = Vec::new();
    let mut next = from;
    while next <= to {
        let (key, value) = store.floor(Key::block(next)).unwrap().unwrap();
        let last = Header::read(&value).unwrap().last();
        found.push((key, last));
        next = last + 1;
    }
    found
}

/// Replaces the blocks that hold `from..=to` by as few as hold the same events.
fn merge(store: &dyn Store, from: u64, to: u64) {
    let old = blocks(store, from, to);
    let (first, last) = (old[0].0.first, old[old.len() - 1].1);
    let mut builder = Builder::new(first, read_run(store, first).unwrap().before);
    while builder.next() <= last {
        for event in read_run(store, builder.next()).unwrap().events {
            let (_, chain) = Prepared::of(&event.delivery).push(&mut builder, event.recorded_at);
            assert_eq!(chain, event.chain, "merging must not change the chain");
        }
    }
    let puts = Packer::new().unwrap().finish(&mut builder);
    let kept = |key: &Key| puts.iter().any(|(put, _)| put == key);
    let removes = old.into_iter().map(|(key, _)| key).filter(|key| !kept(key)).collect();
    store.apply(&Batch { puts, removes }).unwrap();
    store.sync().unwrap();
}

/// A log of `count` one-event blocks, and the store under it.
fn light_load(directory: &Path, count: u64) -> (Log, Disk) {
    let (store, marks) = sled(directory);
    let disk = || Disk { store: store.clone(), marks: marks.clone(), runs: Arc::new(MemoryStore::default()) };
    let log = super::super::open::open_on(disk(), Known::nothing(), options()).unwrap();
    for n in 1..=count {
        assert_eq!(append(&log, &n.to_string(), format!("{{\"n\":{n}}}").as_bytes()).unwrap().position, n);
    }
    assert_eq!(blocks(&*store, 1, count).len() as u64, count);
    (log, disk())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_sees_every_event_once_whatever_is_merged_between_its_steps(
        merges in prop::collection::vec((1..=60u64, 1..=40u64), 0..60),
        started_at in 0..60u64,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (log, disk) = light_load(directory.path(), 60);
        let mut tail = log.reader.tail(started_at);
        let mut merges = merges.into_iter();
        let mut seen = Vec::new();
        loop {
            if let Some((from, len)) = merges.next() {
                merge(&*disk.store, from, (from + len).min(60));
            }
            let events = tail.read().unwrap();
            if events.is_empty() {
                break;
            }
            seen.extend(events.into_iter().map(|event| event.position));
        }
        prop_assert_eq!(seen, (started_at + 1..=60).collect::<Vec<_>>());
        for position in 1..=60 {
            prop_assert_eq!(log.reader.get(position).unwrap().unwrap().position, position);
        }
        close(log);
        let reopened = super::super::open::open_on(disk, Known::nothing(), options()).unwrap();
        prop_assert_eq!(reopened.reader.head().position, 60);
        close(reopened);
    }
}

#[test]
fn a_reader_beside_a_merging_thread_sees_every_event_once() {
    const EVENTS: u64 = 600;
    let directory = tempfile::tempdir().unwrap();
    let (log, disk) = light_load(directory.path(), EVENTS);
    let merged = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for width in [2, 5, 12, 30] {
                (1..=EVENTS)
                    .step_by(width)
                    .for_each(|from| merge(&*disk.store, from, (from + width as u64 - 1).min(EVENTS)));
            }
            merged.store(true, Ordering::SeqCst);
        });
        let mut rounds = 0;
        while !merged.load(Ordering::SeqCst) || rounds < 3 {
            let seen = read_all(&log.reader).into_iter().map(|event| event.position);
            assert!(seen.eq(1..=EVENTS), "round {rounds}");
            rounds += 1;
        }
    });
    close(log);
}
