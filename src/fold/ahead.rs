//! Reads the log ahead of the fold, on a core of its own: what needs no state is done here, decoding and parsing. Applies
//! nothing.

use std::thread::{self, JoinHandle};

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::entity::Mark;
use super::payload;
use super::report::Report;
use super::words::Words;
use crate::blocklog::ReadError;
use crate::event::{ApiMode, Event, Hash, Position, Provenance};
use crate::log::{Reader, Tail};

/// So many blocks may wait for the fold.
const WAITING_MAX: usize = 8;

/// One event, as far as the fold needs it.
pub(super) struct Parsed {
    pub mark: Mark,
    pub chain: Hash,
    /// Of the state that it changes. None: it is only kept.
    pub realm: Option<(String, ApiMode)>,
    /// None: it tells nothing of connections and exports.
    pub report: Option<Report>,
}

impl Parsed {
    pub fn of(event: Event, words: &mut Words) -> Self {
        let mark = Mark { position: event.position, recorded_at: event.recorded_at };
        let realm = event.applies_to().map(|mode| (event.delivery.tenant, mode));
        let report = realm.as_ref().and_then(|_| payload::read(&event.delivery.body, words));
        let second_hand = event.delivery.provenance != Provenance::Webhook;
        let report = report.map(|report| Report { second_hand, ..report });
        Self { mark, chain: event.chain, realm, report }
    }
}

pub(super) struct Ahead {
    parsed: mpsc::Receiver<Result<Vec<Parsed>, ReadError>>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Everything after a position, for ever.
    pub fn spawn(reader: &Reader, after: Position, mut words: Words, runtime: Handle) -> std::io::Result<Self> {
        let mut tail = reader.tail(after);
        let (sender, parsed) = mpsc::channel(WAITING_MAX);
        let thread = thread::Builder::new().name("cleat-ahead".into()).spawn(move || {
            while runtime.block_on(more(&mut tail, &sender)) {
                let read = tail.read();
                let ended = read.is_err();
                let read = read.map(|events| events.into_iter().map(|event| Parsed::of(event, &mut words)).collect());
                if sender.blocking_send(read).is_err() || ended {
                    return;
                }
            }
        })?;
        Ok(Self { parsed, thread: Some(thread) })
    }

    /// The next events; None when all was read and the log is closed.
    pub async fn next(&mut self) -> Option<Result<Vec<Parsed>, ReadError>> {
        self.parsed.recv().await
    }

    /// The same, for a thread that may block.
    pub fn wait(&mut self) -> Option<Result<Vec<Parsed>, ReadError>> {
        self.parsed.blocking_recv()
    }

    /// After the last events: whether it was the thread's panic that ended them, and not the log's end.
    pub fn has_panicked(&mut self) -> bool {
        self.thread.take().is_some_and(|thread| thread.join().is_err())
    }
}

/// Whether there is more to read, and somebody to read it for.
async fn more(tail: &mut Tail, sender: &mpsc::Sender<Result<Vec<Parsed>, ReadError>>) -> bool {
    tokio::select! {
        biased;
        () = sender.closed() => false,
        more = tail.wait() => more,
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.parsed.close();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that reads ahead of the fold panicked");
        }
    }
}
