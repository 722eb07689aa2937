//! Protocol of the two slots, checked on the operations that a store records: after any power cut a slot is whole and
//! recent.

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use tempfile::tempdir;

use super::witness;
use crate::event::Position;
use crate::log::files::anchor::{self, AnchorFile, AnchorRead};
use crate::log::files::witness::{
    NextSlot, WitnessFile, WitnessSlot, WitnessState, WitnessStore, decode, first_file, read,
};
use crate::log::files::witness_keeper::WitnessKeeper;
use crate::storage::StoreError;

const FIRST: NextSlot = NextSlot { slot: 0, number: 1 };
const OFTEN: Duration = Duration::from_micros(200);
/// Longer than any test: only a stop syncs.
const NEVER: Duration = Duration::from_secs(1000);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Op {
    /// The log is about to mark this position.
    Mark(Position),
    Write(usize, Position, Vec<u8>),
    SyncBegins,
    SyncEnds,
    /// `mark_synced` has returned for this position.
    Synced(Position),
}

#[derive(Default)]
struct Recorded {
    ops: Vec<Op>,
    is_held: bool,
    fails_writes: bool,
    fails_syncs: bool,
}

/// Store that records its operations, and can hold or fail them.
#[derive(Default)]
struct Recorder {
    recorded: Mutex<Recorded>,
    changed: Condvar,
}

impl Recorder {
    fn set(&self, change: impl FnOnce(&mut Recorded)) {
        change(&mut self.recorded.lock().unwrap());
        self.changed.notify_all();
    }

    fn push(&self, op: Op) {
        self.set(|recorded| recorded.ops.push(op));
    }

    fn wait_for(&self, is_reached: impl Fn(&[Op]) -> bool) {
        let recorded = self.recorded.lock().unwrap();
        drop(self.changed.wait_while(recorded, |recorded| !is_reached(&recorded.ops)).unwrap());
    }

    fn ops(&self) -> Vec<Op> {
        self.recorded.lock().unwrap().ops.clone()
    }

    /// Returns the operations on the slots alone, in short form.
    fn steps(&self) -> Vec<String> {
        let step = |op| match op {
            Op::Write(slot, position, _) => Some(format!("{position} to {slot}")),
            Op::SyncBegins => Some("sync".into()),
            Op::SyncEnds => Some("synced".into()),
            Op::Mark(_) | Op::Synced(_) => None,
        };
        self.ops().into_iter().filter_map(step).collect()
    }
}

impl WitnessStore for Recorder {
    fn write(&self, slot: usize, bytes: &[u8]) -> Result<(), StoreError> {
        if self.recorded.lock().unwrap().fails_writes {
            return Err(StoreError::new("write the slot", "the disk says no"));
        }
        let position = WitnessSlot::decode(bytes).unwrap().witness.head.position;
        self.push(Op::Write(slot, position, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.push(Op::SyncBegins);
        let held = self.changed.wait_while(self.recorded.lock().unwrap(), |recorded| recorded.is_held).unwrap();
        if held.fails_syncs {
            return Err(StoreError::new("sync the slots", "the disk says no"));
        }
        drop(held);
        self.push(Op::SyncEnds);
        Ok(())
    }
}

fn keeper(store: &Arc<Recorder>, every: Duration) -> WitnessKeeper {
    let failed = |error: &StoreError| panic!("{error}");
    WitnessKeeper::spawn(store.clone(), FIRST, None, failed, every).unwrap()
}

#[test]
fn nothing_is_written_while_a_sync_runs_and_then_the_newest() {
    let store = Arc::new(Recorder::default());
    store.set(|recorded| recorded.is_held = true);
    let keeper = keeper(&store, OFTEN);
    keeper.mark(&witness(1)).unwrap();
    store.wait_for(|ops| ops.contains(&Op::SyncBegins));
    for position in 2..=5 {
        keeper.mark(&witness(position)).unwrap();
    }
    assert_eq!(store.steps(), ["1 to 0", "sync"]);
    store.set(|recorded| recorded.is_held = false);
    store.wait_for(|ops| ops.iter().filter(|op| **op == Op::SyncEnds).count() == 2);
    keeper.mark(&witness(6)).unwrap();
    keeper.stop();
    let expected = ["1 to 0", "sync", "synced", "5 to 1", "sync", "synced", "6 to 0", "sync", "synced"];
    assert_eq!(store.steps(), expected);
}

#[test]
fn one_slot_is_overwritten_until_it_is_synced() {
    let store = Arc::new(Recorder::default());
    let keeper = keeper(&store, NEVER);
    for position in 1..=3 {
        keeper.mark(&witness(position)).unwrap();
    }
    keeper.stop();
    assert_eq!(store.steps(), ["1 to 0", "2 to 0", "3 to 0", "sync", "synced"]);
}

#[test]
fn mark_synced_is_durable_on_return_and_switches_the_slot() {
    let store = Arc::new(Recorder::default());
    let keeper = keeper(&store, NEVER);
    keeper.mark(&witness(1)).unwrap();
    keeper.mark_synced(&witness(2)).unwrap();
    assert_eq!(store.steps(), ["1 to 0", "2 to 0", "sync", "synced"]);
    keeper.mark(&witness(3)).unwrap();
    keeper.stop();
    assert_eq!(store.steps()[4..], ["3 to 1", "sync", "synced"]);
}

#[test]
fn mark_synced_waits_for_a_sync_that_runs() {
    let store = Arc::new(Recorder::default());
    store.set(|recorded| recorded.is_held = true);
    let keeper = keeper(&store, OFTEN);
    keeper.mark(&witness(1)).unwrap();
    store.wait_for(|ops| ops.contains(&Op::SyncBegins));
    thread::scope(|scope| {
        let marked = scope.spawn(|| keeper.mark_synced(&witness(2)));
        // In any interleaving, it may not write before this.
        thread::sleep(Duration::from_millis(20));
        let steps = store.steps();
        // Released before any assertion: one that fails would wait for the other thread indefinitely.
        store.set(|recorded| recorded.is_held = false);
        marked.join().unwrap().unwrap();
        assert_eq!(steps, ["1 to 0", "sync"]);
    });
    assert_eq!(store.steps(), ["1 to 0", "sync", "synced", "2 to 1", "sync", "synced"]);
    keeper.stop();
}

#[test]
fn nothing_is_written_without_a_mark() {
    let store = Arc::new(Recorder::default());
    keeper(&store, OFTEN).stop();
    assert!(store.ops().is_empty());
}

#[test]
fn sync_that_fails_is_reported_once_and_ends_all_writing() {
    let store = Arc::new(Recorder::default());
    store.set(|recorded| recorded.fails_syncs = true);
    let (failed, failures) = mpsc::sync_channel(8);
    let on_failure = move |error: &StoreError| failed.send(error.to_string()).unwrap();
    let keeper = WitnessKeeper::spawn(store.clone(), FIRST, None, on_failure, OFTEN).unwrap();
    keeper.mark(&witness(1)).unwrap();
    assert_eq!(failures.recv().unwrap(), "cannot sync the slots: the disk says no");
    store.set(|recorded| recorded.fails_syncs = false);
    assert!(keeper.mark(&witness(2)).is_err());
    assert!(keeper.mark_synced(&witness(3)).is_err());
    keeper.stop();
    assert_eq!(store.steps(), ["1 to 0", "sync"]);
    assert!(failures.recv().is_err(), "no second report");
}

#[test]
fn write_that_fails_is_an_error_of_the_mark() {
    let store = Arc::new(Recorder::default());
    let keeper = keeper(&store, NEVER);
    keeper.mark(&witness(1)).unwrap();
    store.set(|recorded| recorded.fails_writes = true);
    assert!(keeper.mark(&witness(2)).is_err());
    store.set(|recorded| recorded.fails_writes = false);
    assert!(keeper.mark_synced(&witness(3)).is_err(), "what the slot holds is unknown");
    keeper.stop();
    assert_eq!(store.steps(), ["1 to 0"]);
}

#[test]
fn a_power_cut_always_leaves_a_recent_witness() {
    for seed in 0..4_u64 {
        let store = Arc::new(Recorder::default());
        let keeper = keeper(&store, OFTEN);
        let mut random = seed * 7919 + 1;
        for position in 1..=400 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            store.push(Op::Mark(position));
            if (random >> 33).is_multiple_of(40) {
                keeper.mark_synced(&witness(position)).unwrap();
                store.push(Op::Synced(position));
            } else {
                keeper.mark(&witness(position)).unwrap();
            }
            if (random >> 40).is_multiple_of(3) {
                thread::sleep(Duration::from_micros((random >> 50) % 300));
            }
        }
        keeper.stop();
        let mut disk = Disk::new();
        for op in store.ops() {
            disk.replay(op);
        }
        assert!(disk.syncs > 10 && disk.durable_position == 400, "{} syncs", disk.syncs);
    }
}

/// Possible content of a disk after a power cut: for each slot its last synced bytes, any write since, or a mixture.
struct Disk {
    durable: [Vec<u8>; 2],
    /// Writes since the last sync.
    written: [Vec<Vec<u8>>; 2],
    is_syncing: bool,
    syncs: usize,
    marked: Position,
    /// Position that the last completed sync made durable.
    durable_position: Position,
    written_position: Position,
}

impl Disk {
    fn new() -> Self {
        let file = first_file(Some(witness(0)));
        // The first witness is in slot 1 here, so that the keeper begins with slot 0.
        let durable = [vec![0; 512], file[..512].to_vec()];
        Self {
            durable,
            written: [vec![], vec![]],
            is_syncing: false,
            syncs: 0,
            marked: 0,
            durable_position: 0,
            written_position: 0,
        }
    }

    fn replay(&mut self, op: Op) {
        match op {
            Op::Mark(position) => self.marked = position,
            Op::Write(slot, position, bytes) => {
                assert!(!self.is_syncing, "position {position} is written while a sync runs");
                assert!(self.written[1 - slot].is_empty(), "position {position} is written beside an unsynced slot");
                self.written[slot].push(bytes);
                self.written_position = position;
                self.check();
            }
            Op::SyncBegins => self.is_syncing = true,
            Op::SyncEnds => {
                self.is_syncing = false;
                self.syncs += 1;
                for (durable, written) in self.durable.iter_mut().zip(&mut self.written) {
                    *durable = written.pop().unwrap_or_else(|| durable.clone());
                    written.clear();
                }
                self.durable_position = self.written_position;
                self.check();
            }
            Op::Synced(position) => assert!(self.durable_position >= position, "{position} is not durable"),
        }
    }

    /// Checks that, whatever is left of the unsynced writes, the newest witness is neither older than the last sync nor
    /// newer than the last mark.
    fn check(&self) {
        for first in self.possible(0) {
            for second in self.possible(1) {
                let mut file = first_file(None);
                file[..512].copy_from_slice(&first);
                file[4096..4608].copy_from_slice(&second);
                let newest = decode(&file).newest.unwrap().head.position;
                assert!((self.durable_position..=self.marked).contains(&newest), "{newest}");
            }
        }
    }

    fn possible(&self, slot: usize) -> Vec<Vec<u8>> {
        let mut whole = vec![self.durable[slot].clone()];
        whole.extend(self.written[slot].iter().rev().take(3).cloned());
        let mut possible = whole.clone();
        for one in &whole {
            for other in whole.iter().filter(|other| *other != one) {
                // Cuts within the number, the position, the chain, the time and the checksum.
                for cut in [8, 12, 17, 63, 65, 80, 104, 509, 511] {
                    possible.push([&one[..cut], &other[cut..]].concat());
                }
            }
        }
        possible
    }
}

#[test]
fn keeper_goes_on_in_a_file_where_the_last_one_ended() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("witness");
    let mut next = FIRST;
    for start in 0..5 {
        let (file, found) = WitnessFile::open(&path).unwrap();
        assert_eq!(found.next, next);
        let keeper = WitnessKeeper::spawn(Arc::new(file), found.next, None, |error| panic!("{error}"), NEVER).unwrap();
        let position = 10 * start + 1;
        keeper.mark_synced(&witness(position)).unwrap();
        assert_eq!(read(&path).unwrap().newest, Some(witness(position)));
        keeper.mark(&witness(position + 1)).unwrap();
        keeper.stop();
        let found = read(&path).unwrap();
        assert_eq!((found.newest, found.state), (Some(witness(position + 1)), WitnessState::Whole));
        next = NextSlot { slot: next.slot, number: next.number + 2 };
    }
}

#[test]
fn anchor_has_the_newest_witness_after_a_stop() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("data.anchor");
    let store = Arc::new(Recorder::default());
    let anchor = Some(AnchorFile::new(path.clone()));
    let keeper = WitnessKeeper::spawn(store, FIRST, anchor, |error| panic!("{error}"), NEVER).unwrap();
    keeper.mark(&witness(1)).unwrap();
    keeper.mark(&witness(2)).unwrap();
    assert_eq!(anchor::read(&path).unwrap(), AnchorRead::Missing, "it is no part of a mark");
    keeper.stop();
    assert_eq!(anchor::read(&path).unwrap(), AnchorRead::Whole(witness(2)));
}

#[test]
fn anchor_that_cannot_be_written_is_no_failure_of_the_log() {
    let directory = tempdir().unwrap();
    let store = Arc::new(Recorder::default());
    let anchor = Some(AnchorFile::new(directory.path().join("missing/data.anchor")));
    let keeper = WitnessKeeper::spawn(store.clone(), FIRST, anchor, |error| panic!("{error}"), OFTEN).unwrap();
    keeper.mark_synced(&witness(1)).unwrap();
    keeper.mark_synced(&witness(2)).unwrap();
    keeper.stop();
    assert_eq!(store.steps(), ["1 to 0", "sync", "synced", "2 to 1", "sync", "synced"]);
}
