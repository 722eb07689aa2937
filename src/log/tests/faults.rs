//! Tests of faults: every operation of a journal fails once. Nothing is acknowledged from then on, and nothing
//! acknowledged is lost.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::*;
use crate::log::journal::{Journal, JournalFrame, JournalWriter};
use crate::log::open::open_with;

/// A journal whose n-th operation fails, as do all after it.
struct FailingJournal(Journal);

/// Number of operations before the first failure, over all journals of the running test.
static LEFT: Mutex<u64> = Mutex::new(u64::MAX);
/// Lock by which tests that fail journals run one after the other.
static TURN: Mutex<()> = Mutex::new(());

fn take_turn() -> MutexGuard<'static, ()> {
    let turn = TURN.lock();
    *LEFT.lock() = u64::MAX;
    turn
}

fn fail_after(operations: u64) {
    *LEFT.lock() = operations;
}

fn count(operation: &str) -> Result<(), StoreError> {
    let mut left = LEFT.lock();
    *left = left.checked_sub(1).ok_or_else(|| StoreError::new(operation, "the disk is gone"))?;
    Ok(())
}

impl JournalWriter for FailingJournal {
    fn sequence(&self) -> u64 {
        self.0.sequence()
    }

    fn put(&self, frame: &JournalFrame) -> Result<(), StoreError> {
        count("put")?;
        self.0.put(frame)
    }

    fn sync(&self) -> Result<(), StoreError> {
        count("sync")?;
        self.0.sync()
    }

    fn values(&self) -> usize {
        self.0.values()
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

fn open_failing(directory: &Path) -> Log {
    let create = |log: &Path, sequence| Ok(Box::new(FailingJournal(Journal::create(log, sequence)?)) as Box<_>);
    open_with(directory, options(), create).unwrap()
}

/// Appends until the journal fails. Returns the acknowledged positions.
fn append_until_failure(log: &Log) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    for n in 1..=40 {
        match append(log, &n.to_string(), b"{}") {
            Ok(appended) => acknowledged.push(appended.position),
            Err(AppendError::Failed(reason)) => {
                assert!(reason.contains("the disk is gone"), "{reason}");
                return acknowledged;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the journal never failed");
}

#[test]
fn failed_disk_operation_ends_acknowledgements_but_not_reads() {
    let _turn = take_turn();
    for n in 0..12 {
        let directory = tempfile::tempdir().unwrap();
        let log = open_failing(directory.path());
        fail_after(n);
        let acknowledged = append_until_failure(&log);

        let head = log.reader.head().position;
        assert_eq!(acknowledged, (1..=head).collect::<Vec<_>>(), "the head is what was acknowledged");
        assert!(matches!(&*log.health.borrow(), Health::Failed(reason) if reason.contains("the disk is gone")));
        fail_after(u64::MAX);
        let later = append(&log, "later", b"{}");
        assert!(matches!(later, Err(AppendError::Failed(_))), "a disk that heals is not believed");
        assert_eq!(read_all(&log.reader).len() as u64, head, "reads go on, up to the head");
        close(log);

        let reopened = open(directory.path(), options()).unwrap();
        let kept = reopened.reader.head().position;
        assert!(kept >= head, "an unacknowledged event may have stayed; an acknowledged one must");
        assert_eq!(append(&reopened, "1", b"{}").unwrap().is_duplicate(), kept >= 1);
        close(reopened);
    }
}

#[test]
fn a_failed_commit_answers_every_waiter() {
    let _turn = take_turn();
    let directory = tempfile::tempdir().unwrap();
    let log = open_failing(directory.path());
    fail_after(5);
    let results = append_all(&log, (0..500).map(|n| delivery(&n.to_string(), b"{}")).collect());
    assert_eq!(results.len(), 500);
    assert!(results.iter().any(Result::is_err));
    let acknowledged = results.iter().filter(|result| result.is_ok()).count() as u64;
    assert_eq!(acknowledged, log.reader.head().position);
    close(log);
}

#[test]
fn a_writer_that_panics_fails_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let on_commit = Box::new(|_| panic!("a bug"));
    let log = open(directory.path(), LogOptions { on_commit, ..options() }).unwrap();
    assert!(append(&log, "a", b"{}").is_err());
    let Log { appender, writer, health, .. } = log;
    drop(appender);
    assert!(writer.join().is_err());
    assert!(matches!(&*health.borrow(), Health::Failed(reason) if reason.contains("the writer panicked")));
}

#[test]
fn a_second_opener_is_refused_and_the_first_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    let refused = open(directory.path(), options()).err().unwrap().to_string();
    assert!(refused.contains("another process uses it"), "{refused}");
    assert_eq!(append(&log, "a", b"{}").unwrap().position, 1);
    close(log);
}

#[test]
fn webhooks_are_refused_only_while_the_disk_is_nearly_full() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), LogOptions { disk_reserve: u64::MAX, ..options() }).unwrap();
    let mut health = log.health.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    // True also while no webhook comes.
    let is_full = health.wait_for(|health| *health == Health::Refusing(NotAccepting::DiskFull));
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), is_full).await.unwrap().unwrap() });
    let refused = append(&log, "a", b"{}");
    assert!(matches!(refused, Err(AppendError::NotAccepting(NotAccepting::DiskFull))), "{refused:?}");
    close(log);
    let log = open(directory.path(), options()).unwrap();
    assert_eq!(append(&log, "a", b"{}").unwrap().position, 1);
    close(log);
}
