//! Single steps of the thread that keeps runs, when the system or the disk refuses them.

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::event::Identity;
use crate::log::dedup::key::{Digest, Fingerprint};
use crate::log::dedup::recent::RecentKeys;
use crate::log::dedup::runs::{DedupRunError, RunSet};
use crate::log::frame_store::JournalFrames;
use crate::storage::{AtOnce, DecodeError};

/// Keeper, with its surroundings.
struct TestKeeper {
    work: KeeperWork,
    directory: TempDir,
    /// Keeps the keeper running.
    waker: SyncSender<()>,
}

/// Returns a keeper that has lost these ranges of a log without frames.
fn keeper(lost: &[Span]) -> TestKeeper {
    let directory = tempfile::tempdir().unwrap();
    let (waker, woken) = sync_channel(1);
    let options = KeeperOptions {
        index: Arc::new(KeyIndex::new(RecentKeys::after(0), RunSet::default(), Coverage::Partial)),
        directory: directory.path().to_owned(),
        origin: RunOrigin { identity: Identity { log_id: 7, epoch: 8 }, generation: 1 },
        secret: Arc::new(LogSecret { generation: 1, key: Zeroizing::new([5; 32]) }),
        store: Arc::default(),
        lost: Vec::new(),
        run_events: 100,
        disk_reserve: 0,
        head: watch::channel(Point { position: 0, chain: [0; 32], recorded_at: Timestamp::default() }).1,
        now: Arc::new(|| Timestamp::from_micros(0)),
    };
    let waiting = KeeperPace::new(woken, options.index.clone());
    let lost = lost.iter().copied().collect();
    TestKeeper { work: KeeperWork::new(options, lost, waiting), directory, waker }
}

#[test]
fn what_the_system_refuses_to_read_for_minutes_is_given_up() {
    let TestKeeper { mut work, directory: _directory, waker: _waker } = keeper(&[Span { after: 0, through: 100 }]);
    work.options.index.set_coverage(Coverage::Newest);
    work.options.store.refuse_reads(u32::MAX);
    for _ in 1..READ_TRIES_MAX {
        assert!(!work.step());
        assert_eq!((work.lost.len(), work.options.index.view().coverage), (1, Coverage::Partial));
    }
    assert!(work.step());
    assert_eq!((work.lost.len(), work.coverage()), (0, Coverage::Whole));
    assert!(work.options.index.unsaved().is_empty(), "no run is made of it");
}

#[test]
fn what_is_damaged_is_given_up_at_once() {
    let TestKeeper { mut work, directory: _directory, waker: _waker } = keeper(&[Span { after: 0, through: 100 }]);
    assert!(work.step());
    assert_eq!((work.lost.len(), work.coverage()), (0, Coverage::Whole));
    assert!(work.options.index.unsaved().is_empty(), "no run is made of it");
}

#[test]
fn a_hole_in_unsealed_journals_is_stepped_over_at_once() {
    let frame = |first| (first, bytes::Bytes::from_static(b"unreadable"));
    let journal =
        |sequence, firsts: &[u64]| JournalFrames { sequence, frames: firsts.iter().copied().map(frame).collect() };
    let store = FrameStore::new(Vec::new(), vec![journal(1, &[1, 5]), journal(2, &[500])]);
    assert_eq!([1, 5, 499, 500].map(|position| store.frame_end(position)), [4, 499, 499, 500]);
}

/// Writes a run of one key, and publishes it in the index.
fn add_run(work: &KeeperWork, after: u64, through: u64) -> Arc<DedupRun> {
    let head = Point { position: through, chain: [0; 32], recorded_at: Timestamp::default() };
    let KeeperOptions { index, directory, origin, .. } = &work.options;
    let header = RunHeader { origin: *origin, fingerprint_version: FINGERPRINT_VERSION, after, head };
    let entry = KeyEntry { digest: digest(through), position: through, fingerprint: Fingerprint([1; 8]) };
    let run = Arc::new(runs::write(directory, header, vec![entry], &mut AtOnce).unwrap());
    let before = index.runs();
    let others = before.runs().iter().filter(|other| other.span() != run.span()).cloned();
    let others = others.fold(RunSet::default(), |runs, run| runs.with(run).unwrap());
    index.publish(others.with(run.clone()).unwrap());
    run
}

fn digest(n: u64) -> Digest {
    let bytes = n.to_be_bytes();
    Digest::from_bytes(std::array::from_fn(|at| bytes[at % 8] ^ 0x55))
}

fn refused(run: &DedupRun) -> DedupRunError {
    DedupRunError::Io { path: run.path().to_owned(), source: std::io::Error::other("refused") }
}

#[test]
fn a_run_with_repeated_read_errors_is_made_again() {
    let TestKeeper { mut work, directory: _directory, waker: _waker } = keeper(&[]);
    let run = add_run(&work, 0, 100);
    let index = work.options.index.clone();
    for _ in 0..2 {
        index.note_damage(index.runs().runs(), &refused(&run));
        work.drop_damaged();
        assert!(index.runs().has(&run), "it may be read the next time");
    }
    index.note_damage(index.runs().runs(), &refused(&run));
    work.drop_damaged();
    assert!(index.runs().runs().is_empty() && !run.path().exists());
    assert_eq!(work.lost, [run.span()]);
}

#[test]
fn a_run_is_not_blamed_for_the_one_that_it_replaced() {
    let TestKeeper { mut work, directory: _directory, waker: _waker } = keeper(&[]);
    let before = add_run(&work, 0, 100);
    let old_runs = work.options.index.runs();
    let run = add_run(&work, 0, 100);
    let damaged = DedupRunError::Damaged { path: before.path().to_owned(), source: DecodeError("a test") };
    work.options.index.note_damage(old_runs.runs(), &damaged);
    work.drop_damaged();
    assert!(work.options.index.runs().has(&run) && run.path().exists());
    assert!(work.lost.is_empty());
}

#[test]
fn damage_wakes_the_keeper() {
    let TestKeeper { mut work, directory: _directory, waker: _waker } = keeper(&[]);
    let run = add_run(&work, 0, 100);
    let (waker, woken) = sync_channel(1);
    let waker = Arc::new(waker);
    work.options.index.set_waker(Arc::downgrade(&waker));
    work.waiting.woken = woken;
    let damaged = DedupRunError::Damaged { path: run.path().to_owned(), source: DecodeError("a test") };
    work.options.index.note_damage(work.options.index.runs().runs(), &damaged);
    assert!(work.waiting.woken.try_recv().is_ok());
}

#[test]
fn a_table_that_cannot_be_saved_does_not_stop_the_others() {
    let TestKeeper { mut work, directory, waker: _waker } = keeper(&[]);
    for after in [0, 100, 200] {
        let head = Point { position: after + 100, chain: [0; 32], recorded_at: Timestamp::default() };
        work.options.index.add(KeyTable::of(after, head, true, &[]));
    }
    let in_the_way = Span { after: 0, through: 100 }.temporary_path(directory.path());
    std::fs::create_dir(&in_the_way).unwrap();
    let runs =
        |work: &KeeperWork| work.options.index.runs().runs().iter().map(|run| run.span().after).collect::<Vec<_>>();
    assert!(!work.step());
    assert!(work.step() && work.step());
    assert_eq!(runs(&work), [100, 200]);
    std::fs::remove_dir(in_the_way).unwrap();
    assert!(work.step());
    assert_eq!(runs(&work), [0, 100, 200]);
}

#[test]
fn a_merge_is_cut_short_by_a_stop_and_by_damage() {
    let TestKeeper { mut work, directory, waker: _waker } = keeper(&[]);
    (0..8).for_each(|n| drop(add_run(&work, n * 10, n * 10 + 10)));
    let index = work.options.index.clone();
    let due = work.due().unwrap();
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    work.waiting.has_ended = true;
    work.merge(&due).unwrap();
    assert_eq!((index.runs().runs().len(), files()), (8, 8));

    work.waiting.has_ended = false;
    let damaged = DedupRunError::Damaged { path: due[7].path().to_owned(), source: DecodeError("a test") };
    index.note_damage(&due, &damaged);
    work.merge(&due).unwrap();
    assert_eq!((index.runs().runs().len(), files()), (8, 8));

    drop(index.take_damaged());
    work.merge(&due).unwrap();
    assert_eq!((index.runs().runs().len(), files()), (1, 1));
}
