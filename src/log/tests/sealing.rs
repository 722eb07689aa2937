//! Tests of sealing: journals become segments, segments are merged, and a crash between any two steps loses nothing and
//! leaves nothing behind.

use std::fs;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::log::journal::{self, Journal, JournalWriter as _};
use crate::segment::{Frame, SegmentName};

fn segments(directory: &Path) -> Vec<SegmentName> {
    let log = directory.join("log");
    names(&log).iter().filter_map(|name| SegmentName::of(&log.join(name))).collect()
}

fn fill(log: &Log, events: u64) {
    let head = log.reader.head().position;
    for n in head + 1..=head + events {
        let body = format!("{{\"n\":{n}}}");
        assert_eq!(append(log, &n.to_string(), body.as_bytes()).unwrap().position, n);
    }
}

fn check(log: &Log, events: u64) {
    let read = read_all(&log.reader);
    assert_eq!(read.iter().map(|event| event.position).collect::<Vec<_>>(), (1..=events).collect::<Vec<_>>());
    for n in [1, events / 2, events].into_iter().filter(|n| (1..=events).contains(n)) {
        let event = log.reader.get(n).unwrap().unwrap();
        assert_eq!(*event.delivery.body, format!("{{\"n\":{n}}}").as_bytes());
    }
}

#[test]
fn full_journals_are_sealed_while_events_are_appended() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), small_journals()).unwrap();
    fill(&log, 400);
    check(&log, 400);
    wait_until_sealed(&log);
    check(&log, 400);
    assert!(segments(directory.path()).len() > 3, "{:?}", names(&directory.path().join("log")));
    close(log);
    let log = open(directory.path(), small_journals()).unwrap();
    check(&log, 400);
    fill(&log, 100);
    check(&log, 500);
    close(log);
}

#[test]
fn the_next_journal_is_opened_once_the_active_one_is_half_full() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), LogOptions { journal_bytes: 64 * 1024, ..options() }).unwrap();
    let journals = || names(&directory.path().join("log")).iter().filter(|name| name.starts_with("journal-")).count();
    let mut random = StdRng::seed_from_u64(5);
    let mut body = [0; 1500];
    let mut bytes = 0;
    while bytes < 20 * 1024 {
        random.fill_bytes(&mut body);
        append(&log, &bytes.to_string(), &body).unwrap();
        bytes += body.len();
    }
    assert_eq!(journals(), 1);
    while bytes < 35 * 1024 {
        random.fill_bytes(&mut body);
        append(&log, &bytes.to_string(), &body).unwrap();
        bytes += body.len();
    }
    let mut looks = (0..1000).take_while(|_| journals() == 1);
    looks.by_ref().for_each(|_| std::thread::sleep(std::time::Duration::from_millis(5)));
    assert_eq!((journals(), log.reader.closed_journals()), (2, 0));
    close(log);
    assert_eq!(journals(), 1, "the journal that was not needed is removed");
}

#[test]
fn a_start_seals_what_the_last_life_left_and_begins_a_journal() {
    let directory = tempfile::tempdir().unwrap();
    for start in 1..=3 {
        let log = open(directory.path(), options()).unwrap();
        check(&log, (start - 1) * 10);
        fill(&log, 10);
        close(log);
    }
    let log = open(directory.path(), options()).unwrap();
    wait_until_sealed(&log);
    let ranges: Vec<_> = segments(directory.path()).iter().map(|name| (name.first, name.last)).collect();
    assert_eq!(ranges, [(1, 10), (11, 20), (21, 30)]);
    check(&log, 30);
    close(log);
}

#[test]
fn many_small_segments_are_merged_at_most_twice() {
    let directory = tempfile::tempdir().unwrap();
    for start in 0..70 {
        let log = open(directory.path(), options()).unwrap();
        check(&log, start * 2);
        fill(&log, 2);
        close(log);
    }
    let log = open(directory.path(), options()).unwrap();
    wait_until_sealed(&log);
    for _ in 0..1000 {
        if segments(directory.path()).len() < 20 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let left = segments(directory.path());
    assert!(left.len() < 20, "{left:?}");
    check(&log, 140);
    close(log);
    let inspection = open_read_only(directory.path()).unwrap().inspection;
    assert_eq!(inspection.segments.first().map(|segment| segment.merges), Some(1));
    assert!(inspection.problems.is_empty(), "{:?}", inspection.problems);
}

/// A log before and after its journal was sealed.
struct AroundSealing {
    before: tempfile::TempDir,
    after: tempfile::TempDir,
}

fn around_sealing() -> AroundSealing {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    fill(&log, 30);
    close(log);
    let before = copy_of(directory.path());
    let log = open(directory.path(), options()).unwrap();
    wait_until_sealed(&log);
    close(log);
    AroundSealing { before, after: directory }
}

#[test]
fn crash_before_a_journal_is_removed_leaves_its_named_segment() {
    let AroundSealing { before, after } = around_sealing();
    let journals: Vec<_> =
        names(&before.path().join("log")).into_iter().filter(|name| name.starts_with("journal")).collect();
    for journal in &journals {
        let place = after.path().join("log").join(journal);
        if !place.exists() {
            copy_tree(&before.path().join("log").join(journal), &place);
        }
    }
    let log = open(after.path(), options()).unwrap();
    check(&log, 30);
    wait_until_sealed(&log);
    close(log);
    assert_eq!(segments(after.path()).len(), 1);
}

#[test]
fn damaged_segment_is_sealed_again_if_its_journal_is_there() {
    let AroundSealing { before, after } = around_sealing();
    for journal in names(&before.path().join("log")) {
        let place = after.path().join("log").join(&journal);
        if !place.exists() {
            copy_tree(&before.path().join("log").join(&journal), &place);
        }
    }
    let name = segments(after.path())[0].to_string();
    let path = after.path().join("log").join(&name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[300] ^= 1;
    fs::write(&path, bytes).unwrap();
    let log = open(after.path(), options()).unwrap();
    check(&log, 30);
    wait_until_sealed(&log);
    close(log);
    let log = open(after.path(), options()).unwrap();
    check(&log, 30);
    close(log);
}

#[test]
fn half_written_segments_and_dropped_journals_are_swept() {
    let AroundSealing { after: directory, .. } = around_sealing();
    let log_directory = directory.path().join("log");
    fs::write(log_directory.join("00000000000000000031.0.new"), b"half").unwrap();
    fs::create_dir(log_directory.join("journal-00000000000000000001.gone")).unwrap();
    fs::create_dir(log_directory.join("journal-00000000000000000090")).unwrap();
    let log = open(directory.path(), options()).unwrap();
    check(&log, 30);
    close(log);
    let left = names(&log_directory);
    assert!(!left.iter().any(|name| ends_with(name, ".new") || ends_with(name, ".gone")), "{left:?}");
    assert!(!left.contains(&"journal-00000000000000000090".to_owned()), "{left:?}");
}

#[test]
fn a_kill_at_any_commit_keeps_all_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), small_journals()).unwrap();
    for n in (5..=150).step_by(5) {
        fill(&log, 5);
        // Copies the files as a kill leaves them, whatever the sealer is doing.
        let copy = copy_of(directory.path());
        let opened = open(copy.path(), small_journals());
        let Ok(reopened) = opened else { panic!("{n}: {:?}", opened.err()) };
        check(&reopened, n);
        close(reopened);
    }
    close(log);
}

#[test]
fn a_crash_between_the_removals_of_merged_segments_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let mut parts = Vec::new();
    for start in 0..68 {
        let log = open(directory.path(), options()).unwrap();
        fill(&log, 1);
        wait_until_sealed(&log);
        close(log);
        if start == 60 {
            let log_directory = directory.path().join("log");
            let names = names(&log_directory).into_iter().filter(|name| ends_with(name, ".seg"));
            parts = names.map(|name| (name.clone(), fs::read(log_directory.join(name)).unwrap())).collect();
        }
    }
    let merged = segments(directory.path());
    assert!(merged[0].last > 50, "{merged:?}");
    for (name, bytes) in parts.iter().skip(5).step_by(3) {
        fs::write(directory.path().join("log").join(name), bytes).unwrap();
    }
    let log = open(directory.path(), options()).unwrap();
    check(&log, 68);
    close(log);
    assert!(segments(directory.path()).len() <= merged.len() + 1);
}

/// Creates a journal whose third frame has a right checksum over a record that the chain does not hold.
fn journal_with_a_wrong_record(directory: &Path) {
    let log = open(directory, options()).unwrap();
    fill(&log, 5);
    close(log);
    let log_directory = directory.join("log");
    let found = journal::recover(&log_directory, 1).unwrap().follow(0, None);
    assert_eq!(found.frames.len(), 5);
    fs::remove_dir_all(log_directory.join("journal-00000000000000000001")).unwrap();
    let copy = Journal::create(&log_directory, 1).unwrap();
    for (n, mut stored) in found.frames.into_iter().enumerate() {
        if n == 2 {
            let frame = Frame::decode(&stored.frame).unwrap();
            let mut private = frame.private.to_vec();
            private[0] ^= 1;
            stored.frame = Frame { private: &private, ..frame }.encode().unwrap().into();
        }
        copy.put(&stored).unwrap();
    }
    copy.sync().unwrap();
}

#[test]
fn frame_with_a_wrong_record_is_sealed_as_is_and_named_damage() {
    let directory = tempfile::tempdir().unwrap();
    journal_with_a_wrong_record(directory.path());
    for _ in 0..2 {
        let log = open(directory.path(), options()).unwrap();
        wait_until_sealed(&log);
        let is_damaged = |n| matches!(log.reader.get(n), Err(ReadError::Damaged { .. }));
        assert_eq!((1..=5).filter(|n| is_damaged(*n)).collect::<Vec<_>>(), [3]);
        // Events that are not wanted are not unpacked.
        let selection = log.reader.select(3, 3, |_| false).unwrap().unwrap();
        assert!(selection.events.is_empty() && selection.through == 3);
        assert!(log.reader.select(3, 3, |_| true).is_err());
        close(log);
    }
    let log = open(directory.path(), options()).unwrap();
    assert_eq!(append(&log, "6", b"{}").unwrap().position, 6);
    close(log);
}
