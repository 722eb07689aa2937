//! The way into the log: hands deliveries to the writer and waits for their positions. Knows nothing of how it commits.

use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::clock::{ClockError, DatedEvidence, Reading, TimeEvidence, TimeSource};
use super::dedup::{Claim, Digest};
use super::files::secret::LogSecret;
use super::format::Record;
use super::journals::NoRoom;
use super::reader::Reader;
use crate::blocklog::ReadError;
use crate::event::{Contents, Delivery, Hash, ParsedBody, Position, Timestamp, gist};
use crate::storage::Garbled;
use crate::token::Identity;

/// Largest delivery, headers and body: it must fit one commit even if nothing of it can be compressed.
pub(super) const RECORD_BYTES_MAX: usize = 480 * 1024;

/// Where the event is, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub position: Position,
    pub recorded_at: Timestamp,
    /// The log had its key already: all this is of the first one.
    pub duplicate: bool,
    /// The first tells something else, and this one is kept beside it.
    pub conflict: bool,
    /// The hash chain's value after it.
    pub chain: Hash,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Final until a restart. Whether the event is in the log is unknown; sending it again is safe.
    #[error("the log takes nothing any more: {0}")]
    Failed(Arc<str>),
    /// The log may have this event already, but cannot be read there.
    #[error("cannot tell whether the event is a duplicate")]
    Unconfirmed(#[source] ReadError),
    #[error("the log is closed")]
    Closed,
    /// Nothing was appended, and the event's key is free.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// Nothing was appended. It passes by itself.
    #[error("nothing is taken now")]
    NoRoom(#[from] NoRoom),
    #[error("a record of {size} bytes is more than the log takes ({RECORD_BYTES_MAX})")]
    TooLarge { size: usize },
    /// A field is longer than a record can hold.
    #[error("the event cannot be stored")]
    Unstorable(#[from] Garbled),
}

/// One delivery on its way to the writer.
pub(super) struct Pending {
    pub prepared: Prepared,
    pub claim: Option<Claim>,
    /// The event that it conflicts with. `None` if it is not known to conflict with any.
    pub conflict_of: Option<Position>,
    pub origin: Origin,
    pub reply: Reply,
}

/// A delivery as it is stored, and as the fold needs it. Its bytes must not lie in memory beside its record for as long as the
/// disk takes.
pub(super) struct Prepared {
    pub record: Record,
    pub tenant: Arc<str>,
    pub body: Box<ParsedBody>,
}

/// How a delivery came: what decides whether it may be stamped. A conflict with an earlier event comes as its duplicate did.
#[derive(Clone)]
pub(super) struct Origin {
    pub evidence: DatedEvidence,
    pub sequence: Option<Sequence>,
}

/// Deliveries of which none may be appended without those before it: once one is refused, all later ones are, for the same
/// reason. Otherwise a webhook that confirms the clock in between would let the later ones into the log first.
#[derive(Clone, Default)]
pub struct Sequence(Arc<OnceLock<AppendError>>);

impl Sequence {
    /// The first error stays.
    pub(super) fn break_off(&self, error: &AppendError) {
        self.0.get_or_init(|| error.clone());
    }

    pub(super) fn check(&self) -> Result<(), AppendError> {
        self.0.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}

/// What became of a delivery, durably.
pub(super) enum Taken {
    New(Appended),
    /// Its key was taken: it comes back, to be compared with the first.
    Repeated {
        first: Appended,
        prepared: Prepared,
    },
}

/// Somebody waits for this answer: it is owed exactly once.
#[must_use]
pub(super) struct Reply(oneshot::Sender<Result<Taken, AppendError>>);

impl Reply {
    pub fn send(self, result: Result<Taken, AppendError>) {
        // The caller may have gone (its connection broke): the answer then has no reader, and the event stays.
        if self.0.send(result).is_err() {
            tracing::debug!("nobody waits for an answer any more");
        }
    }
}

/// Bytes of all that a delivery holds.
fn size(delivery: &Delivery) -> usize {
    let Delivery { tenant, endpoint, webhook_id, webhook_timestamp, webhook_signature, secret_label, .. } = delivery;
    let texts = [tenant, endpoint, webhook_id, webhook_timestamp, webhook_signature, secret_label];
    let key = delivery.key.as_ref().map_or(0, |key| key.as_str().len());
    texts.into_iter().map(String::len).sum::<usize>() + key + delivery.body.len()
}

/// A cheap handle; the log closes when the last one is dropped.
#[derive(Clone)]
pub struct Appender {
    queue: mpsc::Sender<Pending>,
    time: TimeSource,
    /// Compares a duplicate with the first of its key.
    reader: Reader,
    secret: Arc<LogSecret>,
}

impl Appender {
    pub(super) fn new(queue: mpsc::Sender<Pending>, time: TimeSource, reader: Reader, secret: Arc<LogSecret>) -> Self {
        Self { queue, time, reader, secret }
    }

    /// Returns once the event is on stable storage, or the first of its key has been since before. What tells something else
    /// than that first one is kept, too, once.
    ///
    /// Waits for room in the queue. Dropping the future does not take the event back.
    pub async fn append(&self, delivery: Delivery, evidence: TimeEvidence) -> Result<Appended, AppendError> {
        self.append_dated(delivery, self.read_clock().with(evidence)).await
    }

    /// As [`Self::append`], with evidence of an earlier time.
    pub async fn append_dated(&self, delivery: Delivery, evidence: DatedEvidence) -> Result<Appended, AppendError> {
        self.put(delivery, Origin { evidence, sequence: None }).await?.durable().await
    }

    /// For the time of evidence: of the moment at which it is judged.
    pub fn read_clock(&self) -> Reading {
        self.time.read()
    }

    /// Puts a delivery in the queue and returns before it is durable. Calls that follow one another, each awaited, append in
    /// this order. Futures that are polled side by side do not: the runtime may wake them in any order.
    pub async fn enqueue(&self, delivery: Delivery, evidence: TimeEvidence) -> Result<Enqueued, AppendError> {
        self.put(delivery, Origin { evidence: self.read_clock().with(evidence), sequence: None }).await
    }

    /// As [`Self::enqueue`], without evidence, and not without the deliveries that were enqueued in the sequence before.
    pub async fn enqueue_in(&self, sequence: &Sequence, delivery: Delivery) -> Result<Enqueued, AppendError> {
        let evidence = self.read_clock().with(TimeEvidence::None);
        self.put(delivery, Origin { evidence, sequence: Some(sequence.clone()) }).await
    }

    async fn put(&self, delivery: Delivery, origin: Origin) -> Result<Enqueued, AppendError> {
        let size = size(&delivery);
        if size > RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge { size });
        }
        let (prepared, claim) = self.prepare(delivery)?;
        self.queue(prepared, claim, None, origin).await
    }

    async fn queue(
        &self,
        prepared: Prepared,
        claim: Option<Claim>,
        conflict_of: Option<Position>,
        origin: Origin,
    ) -> Result<Enqueued, AppendError> {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { prepared, claim, conflict_of, origin: origin.clone(), reply: Reply(reply) };
        self.queue.send(pending).await.map_err(|_| AppendError::Closed)?;
        Ok(Enqueued { appender: self.clone(), origin, answer })
    }

    fn prepare(&self, delivery: Delivery) -> Result<(Prepared, Option<Claim>), AppendError> {
        let record = Record::new(&delivery)?;
        let Delivery { tenant, key, body, .. } = delivery;
        let prepared = Prepared { record, tenant: tenant.as_str().into(), body: body.into_parsed() };
        let claim = key.map(|key| Claim::Event { digest: Digest::of_event(&self.secret, &tenant, &key), tenant, key });
        Ok((prepared, claim))
    }

    /// The claim of a record that has the key of the event at `first` and another content. `None` if both tell the same. Blocks.
    fn find_conflict(&self, first: Position, record: &Record) -> Result<Option<Claim>, ReadError> {
        let damaged = |reason| ReadError::Damaged { from: first, reason };
        let event = match self.reader.get(first) {
            Ok(event) => event.ok_or(damaged("no frame holds it"))?,
            // What cannot be read cannot be compared.
            Err(ReadError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let again = record.delivery().map_err(|garbled| damaged(garbled.0))?;
        // What is erased or sealed cannot be compared any more.
        if event.contents != Contents::Whole || again.body == event.delivery.body {
            return Ok(None);
        }
        let content = gist(&again.body);
        let conflicts = content != gist(&event.delivery.body);
        Ok(conflicts.then(|| Claim::Conflict { first, digest: Digest::of_conflict(&self.secret, first, &content) }))
    }

    pub fn identity(&self) -> Identity {
        self.reader.identity()
    }

    pub fn downgrade(&self) -> WeakAppender {
        WeakAppender {
            queue: self.queue.downgrade(),
            time: self.time.clone(),
            reader: self.reader.clone(),
            secret: self.secret.clone(),
        }
    }
}

/// A delivery in the queue. It is appended whether or not this is awaited.
pub struct Enqueued {
    /// Appends what conflicts with the first event of its key.
    appender: Appender,
    origin: Origin,
    answer: oneshot::Receiver<Result<Taken, AppendError>>,
}

impl Enqueued {
    /// See [`Appender::append`].
    pub async fn durable(self) -> Result<Appended, AppendError> {
        let Self { appender, origin, answer } = self;
        let (first, prepared) = match answer.await.map_err(|_| AppendError::Closed)?? {
            Taken::New(appended) => return Ok(appended),
            Taken::Repeated { first, prepared } => (first, prepared),
        };
        let comparing = appender.clone();
        let compared = tokio::task::spawn_blocking(move || {
            let claim = comparing.find_conflict(first.position, &prepared.record)?;
            Ok(claim.map(|claim| (prepared, claim)))
        });
        // Cut short only by the end of the runtime.
        let conflict = compared.await.map_err(|_| AppendError::Closed)?.map_err(AppendError::Unconfirmed)?;
        let Some((prepared, claim)) = conflict else { return Ok(first) };
        let kept = appender.queue(prepared, Some(claim), Some(first.position), origin).await?;
        // The claim of a conflict is unique per content: new or repeated, the record is in the log.
        kept.answer.await.map_err(|_| AppendError::Closed)??;
        Ok(Appended { conflict: true, ..first })
    }
}

/// A way to an appender for as long as others keep the log open.
#[derive(Clone)]
pub struct WeakAppender {
    queue: mpsc::WeakSender<Pending>,
    time: TimeSource,
    reader: Reader,
    secret: Arc<LogSecret>,
}

impl WeakAppender {
    /// `None` if the log is closed, or closing.
    pub fn upgrade(&self) -> Option<Appender> {
        Some(Appender {
            queue: self.queue.upgrade()?,
            time: self.time.clone(),
            reader: self.reader.clone(),
            secret: self.secret.clone(),
        })
    }
}
