//! Owns the thread that appends to the change log. The fold waits for it only if the fold is much faster. Knows no
//! state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};

use super::change_log::ChangeLog;
use super::frame::Recorded;
use super::writer::Writer;
use crate::event::Position;
use crate::storage::StoreError;
use crate::worker::Worker;

/// Number of events that are handed over together. A restart folds these again.
const HANDED_AT_ONCE: usize = 256;
/// Approximate maximum memory of the changes that are handed over together, unless a single one is larger.
const HANDED_BYTES: usize = 1024 * 1024;
/// Maximum number of hand-overs that wait.
const WAITING_MAX: usize = 16;

enum RecorderOrder {
    Record(Vec<Recorded>),
    /// Makes everything recorded durable, then notifies the sender.
    Sync(SyncSender<()>),
}

pub struct Recorder {
    next: Position,
    gathered: Vec<Recorded>,
    gathered_bytes: usize,
    /// `None` if the recorder is being dropped.
    orders: Option<SyncSender<RecorderOrder>>,
    next_unwritten: Arc<AtomicU64>,
    /// `None` if the thread has ended.
    thread: Option<Worker<Result<(), StoreError>>>,
}

impl Recorder {
    /// Starts a recorder that continues where the change log ends.
    pub fn new(log: Arc<ChangeLog>, segment_bytes: u64) -> std::io::Result<Self> {
        let writer = Writer::new(log, segment_bytes);
        let next = writer.next_unwritten();
        let next_unwritten = Arc::new(AtomicU64::new(next));
        let (orders, received) = mpsc::sync_channel(WAITING_MAX);
        let written = next_unwritten.clone();
        let thread = Worker::spawn("cleat-recorder", move || run(writer, &received, &written))?;
        Ok(Self {
            next,
            gathered: Vec::new(),
            gathered_bytes: 0,
            orders: Some(orders),
            next_unwritten,
            thread: Some(thread),
        })
    }

    /// Returns the position that is recorded next.
    pub fn next(&self) -> Position {
        self.next
    }

    /// Returns the first position that cannot be read yet: every position before it can.
    pub fn next_unwritten(&self) -> Position {
        self.next_unwritten.load(Ordering::Acquire)
    }

    /// Records the next folded event. `weight`: see
    /// [`PositionChanges::weight`](crate::fold::entities::PositionChanges::weight).
    pub fn record(&mut self, recorded: Recorded, weight: usize) -> Result<(), StoreError> {
        self.next += 1;
        self.gathered_bytes += weight;
        self.gathered.push(recorded);
        let is_enough = self.gathered.len() >= HANDED_AT_ONCE || self.gathered_bytes >= HANDED_BYTES;
        if is_enough { self.hand_over() } else { Ok(()) }
    }

    /// Makes everything recorded readable and durable.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.hand_over()?;
        let (done, synced) = mpsc::sync_channel(1);
        self.order(RecorderOrder::Sync(done))?;
        synced.recv().map_err(|_| self.take_failure())
    }

    fn hand_over(&mut self) -> Result<(), StoreError> {
        self.gathered_bytes = 0;
        let gathered = std::mem::replace(&mut self.gathered, Vec::with_capacity(HANDED_AT_ONCE));
        self.order(RecorderOrder::Record(gathered))
    }

    fn order(&mut self, order: RecorderOrder) -> Result<(), StoreError> {
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        if sent { Ok(()) } else { Err(self.take_failure()) }
    }

    /// Waits for the end of the thread. Returns its error, the first time that this is called.
    fn take_failure(&mut self) -> StoreError {
        match self.thread.take().and_then(Worker::join) {
            Some(Err(error)) => error,
            _ => StoreError::new("record changes", "the recording thread has ended"),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.orders = None;
        // Its error has been taken, or nobody asks for it any more.
        drop(self.thread.take().map(Worker::join));
    }
}

fn run(mut writer: Writer, orders: &Receiver<RecorderOrder>, next_unwritten: &AtomicU64) -> Result<(), StoreError> {
    for order in orders {
        let synced = match order {
            RecorderOrder::Record(gathered) => {
                gathered.iter().try_for_each(|recorded| writer.record(recorded))?;
                None
            }
            RecorderOrder::Sync(done) => {
                writer.sync()?;
                Some(done)
            }
        };
        next_unwritten.store(writer.next_unwritten(), Ordering::Release);
        if synced.is_some_and(|done| done.send(()).is_err()) {
            tracing::debug!("the caller of a sync has gone");
        }
    }
    Ok(())
}
