//! Appends to the change log on a thread of its own: the fold waits only if it is much faster. Knows no state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use super::changes::{ChangeLog, Writer};
use super::entity::Mark;
use super::ring::PositionChanges;
use crate::blocklog::{Store, StoreError};
use crate::event::{Hash, Position};

/// Handed over together; a restart folds these again.
const HANDED_AT_ONCE: usize = 256;
/// So many of these may wait.
const WAITING_MAX: usize = 16;

/// What one event changed, if anything.
struct Recorded {
    mark: Mark,
    chain: Hash,
    changes: Option<Arc<PositionChanges>>,
}

enum Order {
    Record(Vec<Recorded>),
    /// Make all that was recorded readable, and then durable, if that is asked; then let the sender know.
    Write {
        durable: bool,
        done: SyncSender<()>,
    },
}

pub(super) struct Recorder {
    next: Position,
    gathered: Vec<Recorded>,
    /// None once it is being dropped.
    orders: Option<SyncSender<Order>>,
    next_unwritten: Arc<AtomicU64>,
    /// None once it has ended.
    thread: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Recorder {
    /// For what comes after `last`, where the chain's value is `chain`; and what reads it.
    pub fn new(store: Arc<dyn Store>, last: Position, chain: Hash) -> std::io::Result<(Self, ChangeLog)> {
        let writer = Writer::new(store.clone(), last, chain)?;
        let next_unwritten = Arc::new(AtomicU64::new(last + 1));
        let (orders, received) = mpsc::sync_channel(WAITING_MAX);
        let written = next_unwritten.clone();
        let thread =
            thread::Builder::new().name("cleat-recorder".into()).spawn(move || run(writer, &received, &written))?;
        let orders = Some(orders);
        let recorder = Self { next: last + 1, gathered: Vec::new(), orders, next_unwritten, thread: Some(thread) };
        Ok((recorder, ChangeLog::new(store)))
    }

    /// The position that is recorded next.
    pub fn next(&self) -> Position {
        self.next
    }

    /// Every position before this one can be read.
    pub fn next_unwritten(&self) -> Position {
        self.next_unwritten.load(Ordering::Acquire)
    }

    /// `changes`: what the next event, the one at `mark`, changed, if anything.
    pub fn record(&mut self, mark: Mark, chain: Hash, changes: Option<Arc<PositionChanges>>) -> Result<(), StoreError> {
        self.next += 1;
        self.gathered.push(Recorded { mark, chain, changes });
        if self.gathered.len() < HANDED_AT_ONCE { Ok(()) } else { self.hand_over() }
    }

    /// Makes all that was recorded readable.
    pub fn write(&mut self) -> Result<(), StoreError> {
        self.wait(false)
    }

    /// Makes all that was recorded readable and durable.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.wait(true)
    }

    fn wait(&mut self, durable: bool) -> Result<(), StoreError> {
        self.hand_over()?;
        let (done, told) = mpsc::sync_channel(1);
        self.order(Order::Write { durable, done })?;
        told.recv().map_err(|_| self.failure())
    }

    fn hand_over(&mut self) -> Result<(), StoreError> {
        let gathered = std::mem::replace(&mut self.gathered, Vec::with_capacity(HANDED_AT_ONCE));
        self.order(Order::Record(gathered))
    }

    fn order(&mut self, order: Order) -> Result<(), StoreError> {
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        if sent { Ok(()) } else { Err(self.failure()) }
    }

    /// Why the thread has ended.
    fn failure(&mut self) -> StoreError {
        let ended = self.thread.take().map(JoinHandle::join);
        let panicked = || StoreError::new("record changes", "the thread that does it has ended");
        ended.and_then(Result::ok).and_then(Result::err).unwrap_or_else(panicked)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.orders = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that records changes panicked");
        }
    }
}

fn run(mut writer: Writer, orders: &Receiver<Order>, next_unwritten: &AtomicU64) -> Result<(), StoreError> {
    for order in orders {
        match order {
            Order::Record(gathered) => {
                for Recorded { mark, chain, changes } in gathered {
                    writer.record(mark, &chain, changes.as_deref())?;
                }
                next_unwritten.store(writer.next_unwritten(), Ordering::Release);
            }
            Order::Write { durable, done } => {
                writer.write()?;
                if durable {
                    writer.sync()?;
                }
                next_unwritten.store(writer.next_unwritten(), Ordering::Release);
                if done.send(()).is_err() {
                    tracing::debug!("nobody waits for the changes any more");
                }
            }
        }
    }
    Ok(())
}
