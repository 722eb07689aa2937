//! Owns the next events of the fold: those that the writer hands over, or those in the log while the fold is behind.
//! The log is read and parsed on a separate thread, ahead of the fold. Must not apply events.

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::event::{ParsedEvent, Position};
use crate::log::{HandOver, HandedOver, Reader, Tail};
use crate::segment::ReadError;
use crate::storage::StoreError;
use crate::worker::Worker;

/// Maximum number of batches that are read ahead.
const WAITING_MAX: usize = 8;
/// Maximum number of events that are taken at once from the hand-over.
const TAKEN_MAX: u64 = 1024;

pub(super) struct Intake {
    reader: Reader,
    /// `None` if another fold takes the handed-over events.
    hand_over: Option<HandOver>,
    runtime: Handle,
    /// Last position that was taken.
    after: Position,
    /// `None` while the log is not read.
    ahead: Option<Ahead>,
}

impl Intake {
    /// Creates an intake of all events after a position, until the log is closed.
    pub fn new(reader: &Reader, hand_over: Option<HandOver>, after: Position, runtime: &Handle) -> Self {
        Self { reader: reader.clone(), hand_over, runtime: runtime.clone(), after, ahead: None }
    }

    /// Returns the next events. `None` if all were taken and the log is closed, or if the thread that reads it has
    /// panicked. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Vec<ParsedEvent>, ReadError>> {
        if !self.reader.tail(self.after).wait().await {
            return None;
        }
        let events = match self.take_handed_over() {
            Some(events) => events,
            None => match self.read_ahead().await? {
                Ok(events) => events,
                Err(error) => return Some(Err(error)),
            },
        };
        self.after = events.last().map_or(self.after, |last| last.position);
        Some(Ok(events))
    }

    /// Like [`Self::next`], but blocks the thread.
    pub fn wait(&mut self) -> Option<Result<Vec<ParsedEvent>, ReadError>> {
        self.runtime.clone().block_on(self.next())
    }

    /// Waits for the end of the thread that reads the log, if there is one. Returns whether it panicked.
    pub fn take_panicked(&mut self) -> bool {
        self.ahead.as_mut().is_some_and(Ahead::take_panicked)
    }

    #[cfg(test)]
    pub fn is_reading(&self) -> bool {
        self.ahead.is_some()
    }

    fn take_handed_over(&mut self) -> Option<Vec<ParsedEvent>> {
        let through = self.reader.head().position.min(self.after + TAKEN_MAX);
        match self.hand_over.as_ref()?.take(self.after, through) {
            HandedOver::Events(events) => {
                self.ahead = None;
                Some(events)
            }
            HandedOver::Behind => None,
        }
    }

    /// Returns the next events of the thread that reads the log, which it starts if there is none.
    async fn read_ahead(&mut self) -> Option<Result<Vec<ParsedEvent>, ReadError>> {
        let ahead = match &mut self.ahead {
            Some(ahead) => ahead,
            None => match Ahead::spawn(self.reader.tail(self.after), self.runtime.clone()) {
                Ok(ahead) => self.ahead.insert(ahead),
                Err(error) => return Some(Err(StoreError::new("start a thread", error).into())),
            },
        };
        ahead.parsed.recv().await
    }
}

/// Thread that reads and parses the log.
struct Ahead {
    parsed: mpsc::Receiver<Result<Vec<ParsedEvent>, ReadError>>,
    thread: Option<Worker>,
}

impl Ahead {
    fn spawn(mut tail: Tail, runtime: Handle) -> std::io::Result<Self> {
        let (sender, parsed) = mpsc::channel(WAITING_MAX);
        let thread = Worker::spawn("cleat-ahead", move || {
            while runtime.block_on(wait_for_more(&mut tail, &sender)) {
                let read = tail.read();
                let has_ended = read.is_err();
                let parsed = read.map(|events| events.into_iter().map(ParsedEvent::from).collect());
                if sender.blocking_send(parsed).is_err() || has_ended {
                    return;
                }
            }
        })?;
        Ok(Self { parsed, thread: Some(thread) })
    }

    /// Waits for the end of the thread. Returns whether it panicked.
    fn take_panicked(&mut self) -> bool {
        self.thread.take().is_some_and(|thread| thread.join().is_none())
    }
}

/// Waits until there is more to read. Returns false if there is none, or no receiver for it.
async fn wait_for_more(tail: &mut Tail, sender: &mpsc::Sender<Result<Vec<ParsedEvent>, ReadError>>) -> bool {
    tokio::select! {
        biased;
        () = sender.closed() => false,
        more = tail.wait() => more,
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.parsed.close();
        if self.take_panicked() {
            tracing::error!("the thread that reads ahead of the fold panicked");
        }
    }
}
