//! The log held to its contract: against a model, as blocks grow, with failing operations, with damage.
//!
//! Here, not in `tests/`, because these reach under the log: they put doubles and damage at the store's seam.

mod clock;
mod conflicts;
mod damage;
mod dedup_runs;
mod faults;
mod growing;
mod model;
mod preflight;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::OpenError;
use super::dedup::{Known, RunStore};
use super::directory::{DataDirectory, WitnessFile};
use super::open::open;
use super::reader::{Run, read_run};
use super::record::Prepared;
use super::recovery::Disk;
use super::witness::{Mark, MarkStore};
use super::{AppendError, Appended, Head, Health, Log, Options, Reader, TimeEvidence, TimeSource};
use crate::blocklog::{Batch, Builder, Effort, Entry, Key, Packer, SledStore, Store, StoreError, last_position};
use crate::event::{Delivery, Event, EventKey, ModeVerdict, Provenance, Timestamp};
use crate::token::Identity;

const IDENTITY: Identity = Identity { log_id: 0xc1ea7, epoch: 1 };

/// A clock that moves on by a millisecond a look.
fn options() -> Options {
    let now = AtomicI64::new(1_700_000_000_000_000);
    Options {
        time: TimeSource::trusted(Arc::new(move || Timestamp::from_micros(now.fetch_add(1_000, Ordering::Relaxed)))),
        fresh: IDENTITY,
        batch_events: 64,
        dedup_run_events: u64::MAX,
        on_commit: Box::new(|_| {}),
    }
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

/// Appends all at once, so that they share commits as far as these go.
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

/// Everything in the log, by single steps of a tail.
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
    let Log { appender, reader, health, writer } = log;
    drop((appender, reader, health));
    writer.join().unwrap();
}

/// A real directory's, whose witness also keeps it locked.
fn sled(directory: &Path) -> (Arc<SledStore>, Arc<WitnessFile>) {
    let directory = DataDirectory::open(directory).unwrap();
    (Arc::new(super::open::open_store(&directory).unwrap()), Arc::new(directory.witness().unwrap()))
}

/// A store in memory that forgets nothing, shared by a log and the test that reaches under it.
#[derive(Default)]
struct MemoryStore {
    entries: Mutex<BTreeMap<Key, Vec<u8>>>,
    mark: Mutex<Option<Vec<u8>>>,
    runs: Mutex<BTreeMap<u64, Vec<u8>>>,
    takes_no_runs: AtomicBool,
    unreadable_run: AtomicU64,
}

impl Store for MemoryStore {
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut entries = self.entries.lock().unwrap();
        entries.extend(batch.puts.iter().cloned());
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn get(&self, key: Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.entries.lock().unwrap().get(&key).cloned())
    }

    fn floor(&self, key: Key) -> Result<Option<Entry>, StoreError> {
        let entries = self.entries.lock().unwrap();
        Ok(entries.range(..=key).next_back().map(|(key, value)| (*key, value.clone())))
    }
}

impl MemoryStore {
    /// Puts every event into a block of its own, as if there had been a restart after each.
    fn split(&self) {
        let last = last_position(self).unwrap();
        let events: Vec<_> = (1..=last).map(|at| read_run(self, at).unwrap()).collect();
        let mut entries = self.entries.lock().unwrap();
        entries.retain(|key, _| key.first == 0);
        for Run { before, events } in events {
            let mut builder = Builder::new(events[0].position, before);
            Prepared::of(&events[0].delivery).push(&mut builder, events[0].recorded_at);
            entries.extend(Packer::new(Effort::Quick).unwrap().finish(&mut builder));
        }
    }
}

impl MarkStore for MemoryStore {
    fn mark(&self, mark: &Mark) -> Result<(), StoreError> {
        *self.mark.lock().unwrap() = Some(mark.to_vec());
        Ok(())
    }

    fn sync_mark(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn marked(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.mark.lock().unwrap().clone())
    }
}

impl RunStore for MemoryStore {
    fn list(&self) -> io::Result<Vec<u64>> {
        Ok(self.runs.lock().unwrap().keys().copied().collect())
    }

    fn read(&self, through: u64) -> io::Result<Vec<u8>> {
        if self.unreadable_run.load(Ordering::SeqCst) == through {
            return Err(io::Error::other("a bad sector"));
        }
        Ok(self.runs.lock().unwrap()[&through].clone())
    }

    fn write(&self, through: u64, bytes: &[u8]) -> io::Result<()> {
        if self.takes_no_runs.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is full"));
        }
        self.runs.lock().unwrap().insert(through, bytes.to_vec());
        Ok(())
    }

    fn remove(&self, through: u64) -> io::Result<()> {
        self.runs.lock().unwrap().remove(&through);
        Ok(())
    }
}

/// Without runs that outlive it.
fn open_on<T: Store + MarkStore>(store: Arc<T>, options: Options) -> Result<Log, OpenError> {
    let disk = Disk { store: store.clone(), marks: store, runs: Arc::new(MemoryStore::default()) };
    super::open::open_on(disk, Known::nothing(), options)
}

/// Passes on to another store, and fails every operation for writing from the n-th on.
struct FailingStore {
    under: Arc<MemoryStore>,
    operations: AtomicUsize,
    fail_from: AtomicUsize,
    /// Every operation for writing, in order.
    told: Mutex<Vec<&'static str>>,
}

impl FailingStore {
    fn over(under: Arc<MemoryStore>) -> Self {
        Self { under, operations: AtomicUsize::new(0), fail_from: AtomicUsize::new(usize::MAX), told: Mutex::default() }
    }

    /// The n-th operation from now (0: the next) and all after it fail.
    fn fail_after(&self, n: usize) {
        self.fail_from.store(self.operations.load(Ordering::SeqCst) + n, Ordering::SeqCst);
    }

    fn count(&self, operation: &'static str) -> Result<(), StoreError> {
        self.told.lock().unwrap().push(operation);
        let n = self.operations.fetch_add(1, Ordering::SeqCst);
        if n >= self.fail_from.load(Ordering::SeqCst) {
            return Err(StoreError::new(operation, "the disk is gone"));
        }
        Ok(())
    }
}

impl Store for FailingStore {
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.count("apply")?;
        self.under.apply(batch)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.count("sync")?;
        self.under.sync()
    }

    fn get(&self, key: Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.under.get(key)
    }

    fn floor(&self, key: Key) -> Result<Option<Entry>, StoreError> {
        self.under.floor(key)
    }
}

impl MarkStore for FailingStore {
    fn mark(&self, mark: &Mark) -> Result<(), StoreError> {
        self.count("mark")?;
        self.under.mark(mark)
    }

    fn sync_mark(&self) -> Result<(), StoreError> {
        self.count("sync mark")?;
        self.under.sync_mark()
    }

    fn marked(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.under.marked()
    }
}
