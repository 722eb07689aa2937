//! Tests of the size of one commit in the journal.

use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use super::*;
use crate::log::journal::{Journal, JournalFrame, JournalWriter};
use crate::log::open::open_with;

/// Maximum bytes of one commit, less than a start accepts for one.
const COMMIT_BYTES_MAX: u64 = 512 * 1024;

/// A journal that records its largest commit.
struct MeasuredJournal {
    journal: Journal,
    synced: AtomicU64,
}

static LARGEST: AtomicU64 = AtomicU64::new(0);

impl JournalWriter for MeasuredJournal {
    fn sequence(&self) -> u64 {
        self.journal.sequence()
    }

    fn put(&self, frame: &JournalFrame) -> Result<(), StoreError> {
        self.journal.put(frame)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let bytes = self.bytes();
        LARGEST.fetch_max(bytes - self.synced.swap(bytes, Ordering::Relaxed), Ordering::Relaxed);
        self.journal.sync()
    }

    fn values(&self) -> usize {
        self.journal.values()
    }

    fn bytes(&self) -> u64 {
        self.journal.bytes()
    }
}

fn tiny(n: u64) -> Delivery {
    let text = String::new;
    Delivery {
        tenant: "t".into(),
        endpoint: text(),
        key: Some(EventKey::from_text(n.to_string())),
        webhook_id: text(),
        webhook_timestamp: text(),
        webhook_signature: text(),
        secret_label: text(),
        ..delivery("", b"{}")
    }
}

#[test]
fn a_commit_of_tiny_records_stays_within_its_bounds() {
    let directory = tempfile::tempdir().unwrap();
    // The writer waits after the first commit until all others are in the queue.
    let (release, gate) = sync_channel::<()>(1);
    let gate = Mutex::new(gate);
    let on_commit = Box::new(move |_| gate.lock().unwrap().recv().unwrap_or_default());
    let options = LogOptions { batch_events: 65_536, on_commit, ..options() };
    let log = open_with(directory.path(), options, |directory, sequence| {
        Ok(Box::new(MeasuredJournal { journal: Journal::create(directory, sequence)?, synced: AtomicU64::new(0) }))
    });
    let log = log.unwrap();
    let events = 20_000;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut enqueued = Vec::new();
        for n in 1..=events {
            enqueued.push(log.appender.enqueue(tiny(n), TimeEvidence::Signed).await.unwrap());
        }
        drop(release);
        for enqueued in enqueued {
            enqueued.durable().await.unwrap();
        }
    });
    assert_eq!(log.reader.head().position, events);
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!((COMMIT_BYTES_MAX / 2..=COMMIT_BYTES_MAX).contains(&largest), "{largest}");
    close(log);
}
