//! Dedup runs: a start reads only what they do not cover, knows every key, and is never worse off than without them.

use super::*;
use crate::log::dedup;

const EVENTS: u64 = 350;

fn options() -> Options {
    Options { dedup_run_events: 100, ..super::options() }
}

/// With the runs that are in the store.
fn open_on(store: Arc<MemoryStore>, options: Options) -> Result<Log, OpenError> {
    let known = dedup::load(&*store).unwrap();
    crate::log::open::open_on(Disk { store: store.clone(), marks: store.clone(), runs: store }, known, options)
}

/// A closed log of one-event blocks with runs up to 100, 200 and 300.
fn store() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    let log = open_on(store.clone(), options()).unwrap();
    for n in 1..=EVENTS {
        append(&log, &n.to_string(), b"{}").unwrap();
    }
    close(log);
    assert_eq!(store.list().unwrap(), [100, 200, 300]);
    store.split();
    store
}

type Harm<'a> = &'a dyn Fn(&mut BTreeMap<u64, Vec<u8>>);

/// Opens it, and finds every key where it was.
fn check(store: &Arc<MemoryStore>) {
    let log = open_on(store.clone(), options()).unwrap();
    assert_eq!(log.reader.head().position, EVENTS);
    for n in [1, 99, 100, 101, 250, 299, 300, 301, EVENTS] {
        let again = append(&log, &n.to_string(), b"{}").unwrap();
        assert_eq!((again.position, again.duplicate), (n, true));
    }
    close(log);
}

fn damage(store: Arc<MemoryStore>) -> (u64, u64, String) {
    match open_on(store, options()).err() {
        Some(OpenError::Damaged { range, reason }) => (*range.start(), *range.end(), reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_start_reads_only_what_the_runs_do_not_cover() {
    let store = store();
    // Damage in the middle shows who reads it.
    store.entries.lock().unwrap().get_mut(&Key::block(150)).unwrap()[120] ^= 1;
    let log = open_on(store.clone(), options()).unwrap();
    assert!(append(&log, "120", b"{}").unwrap().duplicate, "the run knows the key, and its record confirms it");
    assert!(
        log.reader.get(150).unwrap_err().to_string().contains("position 150"),
        "and damage is found when it is read"
    );
    close(log);
    store.runs.lock().unwrap().clear();
    assert_eq!(damage(store).0, 150);
}

#[test]
fn runs_go_on_after_a_restart_where_they_ended() {
    let store = store();
    let log = open_on(store.clone(), options()).unwrap();
    for n in EVENTS + 1..=420 {
        append(&log, &n.to_string(), b"{}").unwrap();
    }
    close(log);
    assert_eq!(store.list().unwrap(), [100, 200, 300, 400]);
}

#[test]
fn a_run_that_is_missing_or_damaged_or_foreign_is_made_anew_with_all_after_it() {
    let other = Arc::new(MemoryStore::default());
    let elsewhere = Options { fresh: Identity { epoch: 2, ..IDENTITY }, ..options() };
    let log = open_on(other.clone(), elsewhere).unwrap();
    append_all(&log, (0..200).map(|n| delivery(&n.to_string(), b"{}")).collect());
    close(log);
    let foreign = RunStore::read(&*other, other.list().unwrap()[0]).unwrap();
    let harms: [Harm<'_>; 5] = [
        &|runs| drop(runs.remove(&100)),
        &|runs| drop(runs.remove(&200)),
        &|runs| runs.get_mut(&200).unwrap()[200] ^= 1,
        &|runs| runs.get_mut(&300).unwrap().truncate(99),
        &|runs| drop(runs.insert(100, foreign.clone())),
    ];
    for harm in harms {
        let store = store();
        let whole = store.runs.lock().unwrap().clone();
        harm(&mut store.runs.lock().unwrap());
        check(&store);
        assert!(*store.runs.lock().unwrap() == whole, "they are as they were");
    }
}

#[test]
fn a_run_that_cannot_be_read_does_not_keep_the_log_shut() {
    let store = store();
    store.unreadable_run.store(200, Ordering::SeqCst);
    check(&store);
    assert_eq!(store.list().unwrap(), [100, 200, 300]);
}

#[test]
fn a_log_that_ends_before_its_runs_or_is_another_than_they_saw_stays_shut() {
    let shortened = store();
    shortened.entries.lock().unwrap().retain(|key, _| key.first <= 220);
    // A power cut may take the last second of the witness.
    let early = Arc::new(MemoryStore::default());
    let log = open_on(early.clone(), options()).unwrap();
    append_all(&log, (1..=50).map(|n| delivery(&n.to_string(), b"{}")).collect());
    close(log);
    *shortened.mark.lock().unwrap() = early.mark.lock().unwrap().clone();
    let (from, to, reason) = damage(shortened);
    assert_eq!((from, to), (221, 300));
    assert!(reason.contains("dedup run"), "{reason}");

    let (ours, other) = (store(), Arc::new(MemoryStore::default()));
    let log = open_on(other.clone(), options()).unwrap();
    for n in 1..=EVENTS {
        append(&log, &format!("other-{n}"), b"{}").unwrap();
    }
    close(log);
    *ours.runs.lock().unwrap() = other.runs.lock().unwrap().clone();
    assert!(damage(ours).2.contains("dedup run"));
}

#[test]
fn a_run_that_cannot_be_saved_harms_nobody() {
    let under = Arc::new(MemoryStore::default());
    under.takes_no_runs.store(true, Ordering::SeqCst);
    let log = open_on(under.clone(), options()).unwrap();
    for n in 1..=EVENTS {
        assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n);
    }
    assert_eq!(*log.health.borrow(), Health::Writable);
    close(log);
    assert!(under.list().unwrap().is_empty());
    check(&under);
}

#[test]
fn runs_are_files_that_a_restart_finds_and_half_written_ones_are_swept() {
    let directory = tempfile::tempdir().unwrap();
    let reopened = || open(directory.path(), options()).unwrap();
    let log = reopened();
    append_all(&log, (0..250).map(|n| delivery(&n.to_string(), b"{}")).collect());
    close(log);
    let names = || {
        let entries = std::fs::read_dir(directory.path().join("dedup")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let before = names();
    assert!(!before.is_empty());
    std::fs::write(directory.path().join("dedup/00000000000000000999.new"), b"half").unwrap();
    let log = reopened();
    assert!(append(&log, "3", b"{}").unwrap().duplicate);
    close(log);
    assert_eq!(names(), before);
}
