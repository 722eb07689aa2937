//! Every operation for writing fails once: nothing is acknowledged from then on, and nothing acknowledged is lost.

use super::*;

/// Appends until the store fails; returns what was acknowledged.
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
    panic!("the store never failed");
}

#[test]
fn after_the_nth_operation_fails_nothing_is_acknowledged_and_reads_go_on() {
    for n in 0..12 {
        let under = Arc::new(MemoryStore::default());
        let store = Arc::new(FailingStore::over(under.clone()));
        let log = open_on(store.clone(), options()).unwrap();
        store.fail_after(n);
        let acknowledged = append_until_failure(&log);

        let head = log.reader.head().position;
        assert_eq!(acknowledged, (1..=head).collect::<Vec<_>>(), "the head is what was acknowledged");
        assert!(matches!(&*log.health.borrow(), Health::Failed(reason) if reason.contains("the disk is gone")));
        store.fail_from.store(usize::MAX, Ordering::SeqCst);
        assert!(
            matches!(append(&log, "later", b"{}"), Err(AppendError::Failed(_))),
            "a disk that heals is not believed"
        );
        assert_eq!(read_all(&log.reader).len() as u64, head, "reads go on, up to the head");
        close(log);

        let reopened = open_on(under, options()).unwrap();
        let kept = reopened.reader.head().position;
        assert!(kept >= head, "an unacknowledged event may have stayed; an acknowledged one must");
        assert_eq!(append(&reopened, "1", b"{}").unwrap().duplicate, kept >= 1);
        close(reopened);
    }
}

#[test]
fn a_failed_commit_answers_every_waiter() {
    let store = Arc::new(FailingStore::over(Arc::new(MemoryStore::default())));
    let log = open_on(store.clone(), options()).unwrap();
    store.fail_after(3);
    let results = append_all(&log, (0..500).map(|n| delivery(&n.to_string(), b"{}")).collect());
    assert_eq!(results.len(), 500);
    assert!(results.iter().any(Result::is_err));
    let acknowledged = results.iter().filter(|result| result.is_ok()).count() as u64;
    assert_eq!(acknowledged, log.reader.head().position);
    close(log);
}

#[test]
fn a_witness_that_cannot_be_synced_stops_the_writer_too() {
    let store = Arc::new(FailingStore::over(Arc::new(MemoryStore::default())));
    let mut log = open_on(store.clone(), options()).unwrap();
    append(&log, "a", b"{}").unwrap();
    store.fail_after(0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(log.health.wait_for(|health| *health != Health::Writable)).unwrap();
    assert!(matches!(append(&log, "b", b"{}"), Err(AppendError::Failed(_))));
    close(log);
}

#[test]
fn a_writer_that_panics_says_so_and_nothing_is_acknowledged_any_more() {
    let on_commit = Box::new(|_| panic!("a bug"));
    let log = open_on(Arc::new(MemoryStore::default()), Options { on_commit, ..options() }).unwrap();
    assert!(append(&log, "a", b"{}").is_err());
    let Log { appender, writer, health, .. } = log;
    drop(appender);
    assert!(writer.join().is_err());
    assert!(matches!(&*health.borrow(), Health::Failed(reason) if reason.contains("the writer panicked")));
}

#[test]
fn each_commit_is_synced_before_it_is_witnessed() {
    let store = Arc::new(FailingStore::over(Arc::new(MemoryStore::default())));
    let log = open_on(store.clone(), options()).unwrap();
    store.told.lock().unwrap().clear();
    for id in ["a", "b", "c"] {
        append(&log, id, b"{}").unwrap();
    }
    let told: Vec<_> = store.told.lock().unwrap().iter().copied().filter(|told| *told != "sync mark").collect();
    assert_eq!(told, ["apply", "sync", "mark"].repeat(3));
    close(log);
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
