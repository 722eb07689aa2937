//! Decides when each slot of the witness is written and synced, so that one slot is whole and durable at every instant.
//! Owns the threads that sync the slots and renew the anchor; knows nothing of the slots' bytes.
//!
//! Each commit overwrites one slot, and the thread syncs it. While it is synced no slot is written: the newest witness
//! waits in memory. Only after the sync has returned, writing turns to the other slot. So the slot that is not written
//! holds the witness of the last sync, which is about two periods old at most.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::anchor::AnchorFile;
use super::witness::{NextSlot, SLOTS, Witness, WitnessSlot, WitnessStore};
use crate::storage::StoreError;
use crate::worker::Worker;

/// Writes the witness after each commit, and syncs it off the commit's path.
pub struct WitnessKeeper {
    shared: Arc<SharedWitness>,
    /// Ends the thread when it is dropped.
    stop: SyncSender<()>,
    thread: Worker,
    anchor: Option<AnchorKeeper>,
}

struct SharedWitness {
    store: Arc<dyn WitnessStore>,
    slots: Mutex<Slots>,
    /// Signals that a sync has ended.
    synced: Condvar,
}

struct Slots {
    next: NextSlot,
    /// Last witness that was marked.
    newest: Option<WitnessSlot>,
    /// True if the slot was written since its last sync.
    is_unsynced: bool,
    /// True while a sync is running: nothing may be written.
    is_syncing: bool,
    /// True if the newest witness was marked during that sync, and is in no slot yet.
    is_waiting: bool,
    /// First failure. It stays: from then on the content of the slots is unknown.
    failed: Option<StoreError>,
}

impl WitnessKeeper {
    /// Starts the threads. `next` comes from [`WitnessFile::open`](super::witness::WitnessFile::open). `on_failure` is
    /// called on the syncing thread, at most once. `every` is how long a witness waits for its sync, and the interval
    /// between two renewals of the anchor.
    pub fn spawn(
        store: Arc<dyn WitnessStore>,
        next: NextSlot,
        anchor: Option<AnchorFile>,
        on_failure: impl Fn(&StoreError) + Send + 'static,
        every: Duration,
    ) -> std::io::Result<Self> {
        let slots =
            Slots { next, newest: None, is_unsynced: false, is_syncing: false, is_waiting: false, failed: None };
        let shared = Arc::new(SharedWitness { store, slots: Mutex::new(slots), synced: Condvar::new() });
        let (stop, stopped) = sync_channel(0);
        let syncing = shared.clone();
        let sync = move || {
            if let Err(error) = syncing.sync_if_due() {
                on_failure(&error);
            }
        };
        let thread = Worker::spawn("cleat-witness", move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                sync();
            }
            sync();
        })?;
        let anchor = anchor.map(|anchor| AnchorKeeper::spawn(anchor, shared.clone(), every)).transpose()?;
        Ok(Self { shared, stop, thread, anchor })
    }

    /// Marks a witness whose head is durable. Does not wait for the disk: the witness is durable within about one
    /// period.
    pub fn mark(&self, witness: &Witness) -> Result<(), StoreError> {
        let mut slots = self.shared.slots.lock();
        slots.set_newest(witness)?;
        if slots.is_syncing {
            slots.is_waiting = true;
            return Ok(());
        }
        slots.write(&*self.shared.store)
    }

    /// Like [`Self::mark`], but the witness is durable when this returns. Waits for a running sync, and for its own.
    pub fn mark_synced(&self, witness: &Witness) -> Result<(), StoreError> {
        let mut slots = self.shared.slots.lock();
        self.shared.synced.wait_while(&mut slots, |slots| slots.is_syncing);
        slots.set_newest(witness)?;
        slots.write(&*self.shared.store)?;
        self.shared.sync(slots)
    }

    /// Syncs the rest, and ends the threads. Returns when done.
    pub fn stop(self) {
        drop(self.stop);
        self.thread.join();
        if let Some(anchor) = self.anchor {
            anchor.stop();
        }
    }
}

impl SharedWitness {
    fn sync_if_due(&self) -> Result<(), StoreError> {
        let slots = self.slots.lock();
        let is_due = slots.is_unsynced && !slots.is_syncing && slots.failed.is_none();
        if is_due { self.sync(slots) } else { Ok(()) }
    }

    /// Syncs the slot, turns to the other one, and writes the witness that was marked in between. Must not run during
    /// another sync.
    fn sync(&self, mut slots: MutexGuard<'_, Slots>) -> Result<(), StoreError> {
        slots.is_syncing = true;
        slots.is_unsynced = false;
        drop(slots);
        let synced = self.store.sync();
        let mut slots = self.slots.lock();
        slots.is_syncing = false;
        self.synced.notify_all();
        if let Err(error) = synced {
            return Err(slots.fail(error));
        }
        slots.next.slot = (slots.next.slot + 1) % SLOTS;
        if std::mem::take(&mut slots.is_waiting) { slots.write(&*self.store) } else { Ok(()) }
    }
}

impl Slots {
    fn set_newest(&mut self, witness: &Witness) -> Result<(), StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.newest = Some(WitnessSlot { number: self.next.number, witness: *witness });
        self.next.number = self.next.number.saturating_add(1);
        Ok(())
    }

    fn write(&mut self, store: &dyn WitnessStore) -> Result<(), StoreError> {
        let Some(newest) = &self.newest else { return Ok(()) };
        if let Err(error) = store.write(self.next.slot, &newest.encode()) {
            return Err(self.fail(error));
        }
        self.is_unsynced = true;
        Ok(())
    }

    fn fail(&mut self, error: StoreError) -> StoreError {
        self.failed.get_or_insert(error).clone()
    }
}

/// Longest wait of a stop for the anchor's volume.
const ANCHOR_PATIENCE: Duration = Duration::from_secs(2);
const ANCHOR_LOOK_EVERY: Duration = Duration::from_millis(2);

/// Renews the anchor on a thread of its own: its volume may hang, and must not delay the sync of the witness.
struct AnchorKeeper {
    /// Ends the thread when it is dropped.
    stop: SyncSender<()>,
    thread: Worker,
}

impl AnchorKeeper {
    fn spawn(mut anchor: AnchorFile, shared: Arc<SharedWitness>, every: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let thread = Worker::spawn("cleat-anchor", move || {
            let mut anchored = 0;
            let mut renew = || {
                let newest = shared.slots.lock().newest.filter(|newest| newest.number != anchored);
                if let Some(newest) = newest
                    && anchor.renew(&newest)
                {
                    anchored = newest.number;
                }
            };
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                renew();
            }
            renew();
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread. Does not join it if its volume hangs.
    fn stop(self) {
        drop(self.stop);
        let began = Instant::now();
        while !self.thread.is_finished() {
            if began.elapsed() > ANCHOR_PATIENCE {
                tracing::warn!("the anchor's volume does not answer; the anchor is not renewed");
                return;
            }
            thread::sleep(ANCHOR_LOOK_EVERY);
        }
    }
}
