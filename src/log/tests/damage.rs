//! Tests of damage to every file of the log: each flip, cut or loss is found, repaired or harmless. No event is ever
//! silently wrong or missing.

use std::fs;
use std::path::PathBuf;

use super::*;

const EVENTS: u64 = 120;

fn body(n: u64) -> Vec<u8> {
    format!("{{\"id\":\"{n}\",\"type\":\"webhook.test\",\"data\":{{\"n\":{}}}}}", n * 7).into_bytes()
}

/// Creates a closed log: three segments, and a journal that is not sealed.
fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for start in 0..4 {
        let log = open(directory.path(), options()).unwrap();
        wait_until_sealed(&log);
        for n in start * EVENTS / 4 + 1..=(start + 1) * EVENTS / 4 {
            append(&log, &n.to_string(), &body(n)).unwrap();
        }
        close(log);
    }
    directory
}

/// Outcome of opening a damaged log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Outcome {
    Whole,
    /// Some events cannot be read, and their reads report it.
    Named,
    Refused,
}

/// Opens the log and reads every event by its position.
fn outcome(directory: &Path) -> Outcome {
    let Ok(log) = open(directory, LogOptions { create: false, ..options() }) else { return Outcome::Refused };
    assert_eq!(log.reader.head().position, EVENTS, "the log is shorter in silence");
    let mut outcome = Outcome::Whole;
    for n in 1..=EVENTS {
        match log.reader.get(n) {
            Ok(Some(event)) => assert_eq!(*event.delivery.body, body(n), "event {n} is another"),
            Ok(None) => panic!("event {n} is missing in silence"),
            Err(ReadError::Damaged { from, .. }) => {
                assert!(from <= n, "{from} is named for {n}");
                outcome = Outcome::Named;
            }
            Err(error) => panic!("{error}"),
        }
    }
    close(log);
    outcome
}

/// Returns every file of the data directory except the lock.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in names(directory) {
        let path = directory.join(&name);
        if path.is_dir() {
            found.extend(files(&path));
        } else if name != "lock" {
            found.push(path);
        }
    }
    found
}

/// Returns the length of a file without the zeros at its end; at least 1.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1)
}

#[test]
fn a_flipped_bit_anywhere_is_found_mended_or_harmless() {
    let directory = filled();
    let mut outcomes = std::collections::BTreeMap::new();
    for file in files(directory.path()) {
        let relative = file.strip_prefix(directory.path()).unwrap().to_owned();
        let whole = fs::read(&file).unwrap();
        if whole.is_empty() {
            continue;
        }
        for n in 0..12 {
            let copy = copy_of(directory.path());
            let mut bytes = whole.clone();
            let at = (used(&whole) * n / 12).min(whole.len() - 1);
            bytes[at] ^= 1 << (n % 8);
            fs::write(copy.path().join(&relative), bytes).unwrap();
            *outcomes.entry((relative.clone(), outcome(copy.path()))).or_insert(0) += 1;
        }
    }
    for (file, expected) in [("CLEAT", Outcome::Whole), ("EPOCHS", Outcome::Whole), ("SECRET", Outcome::Whole)] {
        assert_eq!(outcomes.get(&(PathBuf::from(file), expected)), Some(&12), "{outcomes:?}");
    }
    let named = |((file, outcome), _): &(&(PathBuf, Outcome), &i32)| {
        file.extension().is_some_and(|extension| extension == "seg") && *outcome == Outcome::Named
    };
    assert!(outcomes.iter().any(|entry| named(&entry)), "{outcomes:?}");
}

#[test]
fn a_missing_or_cut_file_is_found_mended_or_harmless() {
    let directory = filled();
    for file in files(directory.path()) {
        let relative = file.strip_prefix(directory.path()).unwrap();
        let length = fs::metadata(&file).unwrap().len();
        for cut in [None, Some(0), Some(length / 2), Some(length.saturating_sub(1))] {
            let copy = copy_of(directory.path());
            let path = copy.path().join(relative);
            match cut {
                None => fs::remove_file(&path).unwrap(),
                Some(length) => fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap(),
            }
            let outcome = outcome(copy.path());
            let is_small = ["CLEAT", "EPOCHS", "SECRET", "witness"].contains(&relative.to_str().unwrap());
            assert!(!is_small || outcome == Outcome::Whole, "{} cut to {cut:?}: {outcome:?}", relative.display());
        }
    }
}

#[test]
fn lost_segment_costs_only_its_range_and_webhooks_are_taken() {
    let directory = filled();
    let log_directory = directory.path().join("log");
    let segments: Vec<_> = names(&log_directory).into_iter().filter(|name| ends_with(name, ".seg")).collect();
    fs::remove_file(log_directory.join(&segments[1])).unwrap();
    let log = open(directory.path(), LogOptions { create: false, ..options() }).unwrap();
    let damaged = |n| matches!(log.reader.get(n), Err(ReadError::Damaged { .. }));
    assert!(!damaged(30) && damaged(31) && damaged(60) && !damaged(61));
    assert_eq!(append(&log, "new", b"{}").unwrap().position, EVENTS + 1);
    let mut tail = log.reader.tail(29);
    assert_eq!(tail.read().unwrap().len(), 1);
    assert!(tail.read().is_err() && tail.read().is_err(), "a tail does not step over damage");
    close(log);
}

#[test]
fn what_a_cut_segment_has_lost_is_named() {
    let directory = filled();
    let log_directory = directory.path().join("log");
    let name = names(&log_directory).into_iter().find(|name| ends_with(name, ".seg")).unwrap();
    let file = fs::OpenOptions::new().write(true).open(log_directory.join(&name)).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let problems = open_read_only(directory.path()).unwrap().inspection.problems;
    let log = open(directory.path(), LogOptions { create: false, ..options() }).unwrap();
    let lost = unreadable(&log, 30);
    close(log);
    let range = format!("events {} to {} cannot be read", lost[0], lost[lost.len() - 1]);
    assert!(problems.iter().any(|problem| problem.starts_with(&range)), "{range}: {problems:?}");
}

#[test]
fn a_closed_journal_that_is_damaged_costs_its_own_range() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    for n in 1..=30 {
        append(&log, &n.to_string(), &body(n)).unwrap();
    }
    close(log);
    let first = copy_of(directory.path());
    let log = open(directory.path(), options()).unwrap();
    for n in 31..=60 {
        append(&log, &n.to_string(), &body(n)).unwrap();
    }
    wait_until_sealed(&log);
    close(log);
    // Simulates that the first journal was not sealed yet.
    let log_directory = directory.path().join("log");
    for name in names(&log_directory) {
        if ends_with(&name, ".seg") {
            fs::remove_file(log_directory.join(name)).unwrap();
        }
    }
    let journal = log_directory.join("journal-00000000000000000001");
    copy_tree(&first.path().join("log/journal-00000000000000000001"), &journal);
    let mut db = fs::read(journal.join("db")).unwrap();
    let half = used(&db) / 2;
    db[half..].fill(0);
    fs::write(journal.join("db"), db).unwrap();
    let log = open(directory.path(), LogOptions { create: false, ..options() }).unwrap();
    assert_eq!(log.reader.head().position, 60);
    assert!(log.reader.get(1).unwrap().is_some() && log.reader.get(31).unwrap().is_some());
    assert!(matches!(log.reader.get(30), Err(ReadError::Damaged { .. })));
    close(log);
}

/// Creates a log of two journals: 1 to 30, then 31 to 60. The first is closed and not sealed.
fn two_journals() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    for n in 1..=30 {
        assert_eq!(append(&log, &n.to_string(), &body(n)).unwrap().position, n);
    }
    close(log);
    let first = copy_of(directory.path());
    let log = open(directory.path(), options()).unwrap();
    for n in 31..=60 {
        assert_eq!(append(&log, &n.to_string(), &body(n)).unwrap().position, n);
    }
    wait_until_sealed(&log);
    close(log);
    let log_directory = directory.path().join("log");
    for name in names(&log_directory).iter().filter(|name| ends_with(name, ".seg")) {
        fs::remove_file(log_directory.join(name)).unwrap();
    }
    copy_tree(&first.path().join("log").join(FIRST_JOURNAL), &log_directory.join(FIRST_JOURNAL));
    directory
}

const FIRST_JOURNAL: &str = "journal-00000000000000000001";

/// Flips a bit in every copy of the value that holds the event at a position.
fn damage_value(db: &Path, position: u64) {
    let mut bytes = fs::read(db).unwrap();
    let start = [&[2][..], &position.to_be_bytes(), &[0, 0]].concat();
    let places: Vec<_> = (0..bytes.len() - start.len()).filter(|at| bytes[*at..].starts_with(&start)).collect();
    assert!(!places.is_empty(), "no value begins at {position}");
    for at in places {
        bytes[at + 60] ^= 1;
    }
    fs::write(db, bytes).unwrap();
}

fn unreadable(log: &Log, through: u64) -> Vec<u64> {
    (1..=through).filter(|n| matches!(log.reader.get(*n), Err(ReadError::Damaged { .. }))).collect()
}

#[test]
fn damaged_value_costs_only_its_events_and_its_journal_is_kept() {
    let directory = two_journals();
    let log_directory = directory.path().join("log");
    damage_value(&log_directory.join(FIRST_JOURNAL).join("db"), 7);
    for _ in 0..2 {
        let log = open(directory.path(), LogOptions { create: false, ..options() }).unwrap();
        assert_eq!((log.reader.head().position, unreadable(&log, 60)), (60, vec![7]));
        wait_until_sealed(&log);
        assert_eq!(unreadable(&log, 60), [7]);
        close(log);
    }
    assert!(log_directory.join(format!("{FIRST_JOURNAL}.aside")).exists(), "{:?}", names(&log_directory));
}

#[test]
fn a_journal_of_another_log_is_refused_or_left_out() {
    let ours = filled_by(1, 30);
    let other = filled_by(9, 60);
    let second = "journal-00000000000000000002";
    let foreign = tempfile::tempdir().unwrap();
    copy_tree(&other.path().join("log").join(FIRST_JOURNAL), foreign.path());
    // The foreign journal is put in the place of ours, then next to it.
    let copy = copy_of(ours.path());
    fs::remove_dir_all(copy.path().join("log").join(FIRST_JOURNAL)).unwrap();
    copy_tree(foreign.path(), &copy.path().join("log").join(FIRST_JOURNAL));
    let error = open(copy.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::OtherHistory { .. }), "{error}");
    copy_tree(foreign.path(), &ours.path().join("log").join(second));
    let log = open(ours.path(), options()).unwrap();
    assert_eq!(log.reader.head().position, 30);
    close(log);
    assert!(ours.path().join("log").join(format!("{second}.aside")).exists());
}

#[test]
fn foreign_journal_that_begins_beyond_our_end_is_refused() {
    const SECOND: &str = "journal-00000000000000000002";
    // Its second journal holds 71 to 80, or 11 to 20.
    for (before, ours) in [(70, SECOND), (10, FIRST_JOURNAL)] {
        let directory = two_journals();
        let other = tempfile::tempdir().unwrap();
        let fresh = NewLog::new(Identity { log_id: 9, epoch: 1 }, [9; 32]);
        for range in [1..=before, before + 1..=before + 10] {
            let log = open(other.path(), LogOptions { fresh: fresh.clone(), ..options() }).unwrap();
            for n in range {
                assert_eq!(append(&log, &n.to_string(), &body(n)).unwrap().position, n);
            }
            close(log);
        }
        let from = other.path().join("log").join(SECOND).join("db");
        fs::copy(from, directory.path().join("log").join(ours).join("db")).unwrap();
        let error = open(directory.path(), options()).err().unwrap();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    }
}

/// Creates a closed log of one journal, with this log id.
fn filled_by(log_id: u128, events: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let fresh = NewLog::new(Identity { log_id, epoch: 1 }, [5; 32]);
    let log = open(directory.path(), LogOptions { fresh, ..options() }).unwrap();
    for n in 1..=events {
        assert_eq!(append(&log, &n.to_string(), &body(n)).unwrap().position, n);
    }
    close(log);
    directory
}

#[test]
fn a_torn_first_commit_of_a_new_journal_is_left_out() {
    let directory = filled_by(1, 30);
    let witness = fs::read(directory.path().join("witness")).unwrap();
    let log = open(directory.path(), options()).unwrap();
    for n in 31..=40 {
        assert_eq!(append(&log, &n.to_string(), &body(n)).unwrap().position, n);
    }
    wait_until_sealed(&log);
    close(log);
    // Simulates a power cut before the witness named the second journal. The cut took the first value of that journal.
    fs::write(directory.path().join("witness"), witness).unwrap();
    damage_value(&directory.path().join("log/journal-00000000000000000002/db"), 31);
    let log = open(directory.path(), options()).unwrap();
    assert_eq!((log.reader.head().position, unreadable(&log, 30)), (30, vec![]));
    assert_eq!(append(&log, "31", &body(31)).unwrap().position, 31);
    close(log);
}

#[test]
fn a_large_record_whose_first_chunk_was_not_written_is_left_out() {
    let directory = filled_by(1, 30);
    let log = open(directory.path(), options()).unwrap();
    let large: Vec<u8> = (0..400_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    assert_eq!(append(&log, "31", &body(31)).unwrap().position, 31);
    let witness = fs::read(directory.path().join("witness")).unwrap();
    assert_eq!(append(&log, "large", &large).unwrap().position, 32);
    close(log);
    fs::write(directory.path().join("witness"), witness).unwrap();
    damage_value(&directory.path().join("log/journal-00000000000000000002/db"), 32);
    let log = open(directory.path(), options()).unwrap();
    assert_eq!((log.reader.head().position, unreadable(&log, 31)), (31, vec![]));
    close(log);
}

#[test]
fn a_segment_with_a_damaged_header_gives_way_to_its_journal() {
    let directory = filled_by(1, 30);
    let journal = tempfile::tempdir().unwrap();
    let log_directory = directory.path().join("log");
    copy_tree(&log_directory.join(FIRST_JOURNAL), journal.path());
    let log = open(directory.path(), options()).unwrap();
    wait_until_sealed(&log);
    close(log);
    copy_tree(journal.path(), &log_directory.join(FIRST_JOURNAL));
    let name = names(&log_directory).into_iter().find(|name| ends_with(name, ".seg")).unwrap();
    let mut bytes = fs::read(log_directory.join(&name)).unwrap();
    bytes[12] ^= 1;
    fs::write(log_directory.join(&name), bytes).unwrap();
    let problems = open_read_only(directory.path()).unwrap().inspection.problems;
    assert!(problems.len() == 1 && problems[0].contains("is sealed again"), "nothing is lost: {problems:?}");
    for _ in 0..2 {
        let log = open(directory.path(), options()).unwrap();
        assert_eq!((log.reader.head().position, unreadable(&log, 30)), (30, vec![]));
        wait_until_sealed(&log);
        close(log);
    }
}

#[test]
fn after_damage_at_the_end_the_chain_goes_on_from_the_witness() {
    let directory = filled_by(1, 30);
    let log = open(directory.path(), options()).unwrap();
    wait_until_sealed(&log);
    close(log);
    let log_directory = directory.path().join("log");
    let name = names(&log_directory).into_iter().find(|name| ends_with(name, ".seg")).unwrap();
    let whole = fs::read(log_directory.join(&name)).unwrap();
    let mut bytes = whole.clone();
    bytes[12] ^= 1;
    fs::write(log_directory.join(&name), bytes).unwrap();
    let log = open(directory.path(), options()).unwrap();
    assert_eq!(append(&log, "31", &body(31)).unwrap().position, 31);
    close(log);
    fs::write(log_directory.join(&name), whole).unwrap();
    let log = open(directory.path(), options()).unwrap();
    assert_eq!((log.reader.head().position, unreadable(&log, 31)), (31, vec![]), "the good segment was put back");
    close(log);
}

#[test]
fn a_torn_end_of_a_journal_that_others_follow_is_left_out() {
    let directory = filled_by(1, 30);
    let witness = fs::read(directory.path().join("witness")).unwrap();
    let log = open(directory.path(), options()).unwrap();
    for n in 31..=33 {
        assert_eq!(append(&log, &format!("lost {n}"), b"{}").unwrap().position, n);
    }
    wait_until_sealed(&log);
    close(log);
    // A power cut takes the second of three events that were never answered, and keeps the others.
    fs::write(directory.path().join("witness"), witness).unwrap();
    let log_directory = directory.path().join("log");
    let second = "journal-00000000000000000002";
    damage_value(&log_directory.join(second).join("db"), 32);
    let torn = tempfile::tempdir().unwrap();
    copy_tree(&log_directory.join(second), torn.path());
    let log = open(directory.path(), options()).unwrap();
    assert_eq!(log.reader.head().position, 31);
    for n in 32..=40 {
        assert_eq!(append(&log, &n.to_string(), &body(n)).unwrap().position, n);
    }
    wait_until_sealed(&log);
    close(log);
    // Simulates a kill before that journal was sealed.
    for name in names(&log_directory) {
        if ends_with(&name, ".seg") && name.starts_with("00000000000000000031") {
            fs::remove_file(log_directory.join(name)).unwrap();
        }
    }
    copy_tree(torn.path(), &log_directory.join(second));
    let log = open(directory.path(), options()).unwrap();
    assert_eq!((log.reader.head().position, unreadable(&log, 40)), (40, vec![]));
    assert_eq!(log.reader.get(33).unwrap().unwrap().delivery.body[..], body(33)[..]);
    close(log);
}

#[test]
fn a_journal_whose_only_record_is_damaged_is_kept() {
    let directory = filled_by(1, 30);
    let log = open(directory.path(), options()).unwrap();
    let large: Vec<u8> = (0..40_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    assert_eq!(append(&log, "large", &large).unwrap().position, 31);
    wait_until_sealed(&log);
    close(log);
    let second = directory.path().join("log/journal-00000000000000000002");
    let kept = tempfile::tempdir().unwrap();
    copy_tree(&second, kept.path());
    let log = open(directory.path(), options()).unwrap();
    assert_eq!(append(&log, "32", &body(32)).unwrap().position, 32);
    wait_until_sealed(&log);
    close(log);
    for name in names(&directory.path().join("log")) {
        if ends_with(&name, ".seg") && name.starts_with("00000000000000000031") {
            fs::remove_file(directory.path().join("log").join(name)).unwrap();
        }
    }
    copy_tree(kept.path(), &second);
    damage_value(&second.join("db"), 31);
    let log = open(directory.path(), options()).unwrap();
    assert_eq!((log.reader.head().position, unreadable(&log, 32)), (32, vec![31]));
    close(log);
    assert!(second.with_extension("aside").exists(), "{:?}", names(&directory.path().join("log")));
}
