//! Tests of the log against its contract: with a model, with failing operations, with damage, with crashes between
//! steps.
//!
//! They are here, not in `tests/`, because they reach under the log: they damage its files and replace journals by
//! doubles.

mod applier;
mod clock;
mod commits;
mod conflicts;
mod damage;
mod dedup_runs;
mod faults;
mod keys;
mod model;
mod refusals;
mod sealing;
mod selection;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use zeroize::Zeroizing;

use super::dedup::Coverage;
use super::*;
use crate::event::{Delivery, Event, EventKey, Identity, ModeVerdict, Point, Provenance, Timestamp};

const IDENTITY: Identity = Identity { log_id: 0xc1ea7, epoch: 1 };

/// Returns options with a clock that advances by a millisecond for each reading.
fn options() -> LogOptions {
    let now = AtomicI64::new(1_700_000_000_000_000);
    LogOptions {
        time: TimeSource::trusted(Arc::new(move || Timestamp::from_micros(now.fetch_add(1_000, Ordering::Relaxed)))),
        fresh: NewLog { identity: IDENTITY, secret: Zeroizing::new([5; 32]) },
        create: true,
        anchor: None,
        seen: Vec::new(),
        batch_events: 64,
        hand_over_events: 64,
        journal_bytes: 64 * 1024 * 1024,
        disk_reserve: 0,
        dedup_run_events: u64::MAX,
        on_commit: Box::new(|_| {}),
    }
}

/// Returns options for a log whose journals hold a few commits.
fn small_journals() -> LogOptions {
    LogOptions { journal_bytes: 8 * 1024, ..options() }
}

fn delivery(id: &str, body: &[u8]) -> Delivery {
    Delivery {
        tenant: "default".into(),
        endpoint: "fasten".into(),
        provenance: Provenance::Webhook,
        mode: ModeVerdict::Live,
        key: Some(EventKey::of(Some(id), "")),
        webhook_id: format!("msg_{id}"),
        webhook_timestamp: "1700000000".into(),
        webhook_signature: "v1,x5lVgj0b/JJJaUYaa1+6I5J/EECcryrPlFN4VrkmI94=".into(),
        secret_label: "1".into(),
        nonce: [7; 16],
        body: body.to_vec().into(),
    }
}

/// Appends all deliveries at once, so that they share commits if possible.
fn append_all(log: &Log, deliveries: Vec<Delivery>) -> Vec<Result<Appended, AppendError>> {
    append_with(log, deliveries, TimeEvidence::Signed)
}

fn append_with(log: &Log, deliveries: Vec<Delivery>, evidence: TimeEvidence) -> Vec<Result<Appended, AppendError>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for (at, delivery) in deliveries.into_iter().enumerate() {
            let appender = log.appender.clone();
            tasks.spawn(async move { (at, appender.append(delivery, evidence).await) });
        }
        let mut results = tasks.join_all().await;
        results.sort_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    })
}

fn append(log: &Log, id: &str, body: &[u8]) -> Result<Appended, AppendError> {
    append_all(log, vec![delivery(id, body)]).remove(0)
}

/// Reads everything in the log, by single steps of a tail.
fn read_all(reader: &Reader) -> Vec<Event> {
    let mut tail = reader.tail(0);
    let mut events = Vec::new();
    loop {
        let read = tail.read().unwrap();
        if read.is_empty() {
            return events;
        }
        events.extend(read);
    }
}

fn close(log: Log) {
    let Log { appender, reader, health, writer, .. } = log;
    drop((appender, reader, health));
    writer.join().unwrap();
}

/// Waits until every closed journal is sealed.
fn wait_until_sealed(log: &Log) {
    for _ in 0..4000 {
        if log.reader.closed_journals() == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("{} journals are not sealed", log.reader.closed_journals());
}

/// Waits until every lost run is rebuilt.
fn wait_until_known(log: &Log) {
    for _ in 0..4000 {
        if log.reader.run_view().coverage == Coverage::Whole {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the keys are not known");
}

/// Lists the names in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Compares the ending exactly as the log writes its names.
fn ends_with(name: &str, ending: &str) -> bool {
    name.ends_with(ending)
}

/// Copies a data directory as a kill leaves it, without its lock.
fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Copies a data directory. Repeats the copy if the sealer moved files meanwhile: a kill leaves the files of one
/// moment.
fn copy_of(directory: &Path) -> tempfile::TempDir {
    loop {
        let before = names(&directory.join("log"));
        let copy = tempfile::tempdir().unwrap();
        let copied = std::panic::catch_unwind(|| copy_tree(directory, copy.path())).is_ok();
        if copied && names(&directory.join("log")) == before {
            return copy;
        }
    }
}
