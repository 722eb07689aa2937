//! Single steps of the thread that keeps runs, where the system or the disk refuses them.

use std::sync::mpsc::sync_channel;

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::super::super::frame_store::JournalFrames;
use super::super::recent::RecentKeys;
use super::super::runs::RunSet;
use super::*;
use crate::token::Identity;

/// A keeper of a log without frames, which has lost these ranges, and its directory.
fn keeper(lost: &[Span]) -> (Work, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (_, woken) = sync_channel(1);
    let options = KeeperOptions {
        index: Arc::new(KeyIndex::new(RecentKeys::after(0), RunSet::default(), Coverage::Partial)),
        directory: directory.path().to_owned(),
        origin: RunOrigin { identity: Identity { log_id: 7, epoch: 8 }, generation: 1 },
        secret: Arc::new(LogSecret { generation: 1, key: Zeroizing::new([5; 32]) }),
        store: Arc::default(),
        lost: Vec::new(),
        run_events: 100,
        disk_reserve: 0,
        now: Arc::new(|| Timestamp::from_micros(0)),
    };
    let waiting = Waiting { woken, is_needed: false, has_ended: false, pacer: Pacer::new() };
    let lost = lost.iter().copied().collect();
    (Work { options, lost, read_tries: 0, waiting, pause: WAKE_EVERY, has_failed: false }, directory)
}

#[test]
fn what_the_system_refuses_to_read_for_minutes_is_given_up() {
    let (mut work, _directory) = keeper(&[Span { after: 0, through: 100 }]);
    work.options.store.refuse_reads(u32::MAX);
    for _ in 1..READ_TRIES_MAX {
        assert!(!work.step());
        assert_eq!((work.lost.len(), work.coverage()), (1, Coverage::Partial));
    }
    assert!(work.step());
    assert_eq!((work.lost.len(), work.coverage()), (0, Coverage::Whole));
    assert!(work.options.index.unsaved().is_empty(), "no run is made of it");
}

#[test]
fn what_is_damaged_is_given_up_at_once() {
    let (mut work, _directory) = keeper(&[Span { after: 0, through: 100 }]);
    assert!(work.step());
    assert_eq!((work.lost.len(), work.coverage()), (0, Coverage::Whole));
    assert!(work.options.index.unsaved().is_empty(), "no run is made of it");
}

#[test]
fn a_hole_of_what_is_not_sealed_is_stepped_over_at_once() {
    let frame = |first| (first, bytes::Bytes::from_static(b"unreadable"));
    let journal =
        |sequence, firsts: &[u64]| JournalFrames { sequence, frames: firsts.iter().copied().map(frame).collect() };
    let store = FrameStore::new(Vec::new(), vec![journal(1, &[1, 5]), journal(2, &[500])]);
    assert_eq!([1, 5, 499, 500].map(|position| store.frame_end(position)), [4, 499, 499, 500]);
}
