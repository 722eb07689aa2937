//! The way into the log: passes deliveries to the sequencer and waits for their positions. Must not know how it
//! commits.

use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::{mpsc, oneshot};

use super::clock::{ClockError, ClockReading, DatedEvidence, TimeEvidence, TimeSource};
use crate::event::{Delivery, Identity, ParsedBody, Point, Position, Provenance};
use crate::log::dedup::key::{Claim, Digest, Fingerprint, KnownKey};
use crate::log::dedup::{Coverage, KeyEntry, RunSet};
use crate::log::files::secret::LogSecret;
use crate::log::format::Record;
use crate::log::journal_rotation::NotAccepting;
use crate::log::reader::Reader;
use crate::segment::ReadError;
use crate::storage::DecodeError;

/// Maximum bytes of a delivery, all its texts included. It must fit one commit even if none of it can be compressed.
pub const RECORD_BYTES_MAX: usize = 480 * 1024;

/// Durable place of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Position of the first event with the key.
    pub position: Position,
    pub outcome: AppendOutcome,
    /// A durable point of the log. The event itself if it was stored by this append; otherwise a point at or after the
    /// first event.
    pub reached: Point,
}

/// What an append found about the event's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    New,
    /// The log had the key already, with the same content.
    Duplicate,
    /// The log had the key already, with other content. This event is stored as well, once.
    Conflict,
}

impl Appended {
    /// Returns whether the log had the key already, with any content.
    pub fn is_duplicate(&self) -> bool {
        self.outcome != AppendOutcome::New
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// A commit failed, and only a restart recovers. It is not known whether the log has the event; sending it again is
    /// safe.
    #[error("the log accepts no more events: {0}")]
    Failed(Arc<str>),
    /// The log may have this event already, but cannot be read there.
    #[error("cannot decide whether the event is a duplicate")]
    Unconfirmed(#[source] ReadError),
    #[error("the log is closed")]
    Closed,
    /// Nothing was appended.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// Nothing was appended. A later try may succeed.
    #[error("the log accepts no events for now")]
    NotAccepting(#[from] NotAccepting),
    #[error("a record of {size} bytes is larger than the maximum of {RECORD_BYTES_MAX} bytes")]
    TooLarge { size: usize },
    /// A field is longer than a record can hold.
    #[error("the event cannot be stored")]
    Unstorable(#[from] DecodeError),
}

/// One delivery on its way to the sequencer.
pub(in crate::log) struct Pending {
    pub prepared: Prepared,
    pub claim: Claim,
    pub lookup: KeyLookup,
    pub origin: StampConditions,
    pub reply: AppendReply,
}

/// Entries that the runs have for a delivery's key.
pub(in crate::log) struct KeyLookup {
    pub known: KnownKey,
    /// Runs that were searched. While this is held, memory keeps the keys that they do not have.
    pub runs: Arc<RunSet>,
}

/// A delivery as it is stored, and as the fold needs it. The delivered bytes must not stay in memory next to the record
/// while the disk works.
pub(in crate::log) struct Prepared {
    pub record: Record,
    pub tenant: Arc<str>,
    pub body: Box<ParsedBody>,
}

/// Origin of a delivery. It decides whether the delivery may be stamped.
#[derive(Clone)]
pub struct StampConditions {
    pub evidence: DatedEvidence,
    pub sequence: Option<OrderedDeliveries>,
}

/// Deliveries none of which may be appended without those before it. Once one is refused, all later ones are refused,
/// for the same reason. Otherwise a webhook in between could confirm the clock, and later deliveries would be
/// appended before earlier ones.
#[derive(Clone, Default)]
pub struct OrderedDeliveries(Arc<OnceLock<AppendError>>);

impl OrderedDeliveries {
    /// Breaks the sequence off. The first error stays.
    pub fn break_off(&self, error: &AppendError) {
        self.0.get_or_init(|| error.clone());
    }

    pub fn check(&self) -> Result<(), AppendError> {
        self.0.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}

/// Outcome of a delivery in the queue.
pub enum QueueOutcome {
    Appended(Appended),
    Undecided(Box<Undecided>),
}

/// A delivery whose key is taken by an event that must be read, or looked up, to compare the two. Nothing was appended.
pub(in crate::log) struct Undecided {
    pub prepared: Prepared,
    pub claim: Claim,
    pub lookup: KeyLookup,
    pub first: KeyEntry,
}

/// Answer that a caller waits for. It is owed exactly once.
#[must_use]
pub struct AppendReply(oneshot::Sender<Result<QueueOutcome, AppendError>>);

impl AppendReply {
    pub fn send(self, result: Result<QueueOutcome, AppendError>) {
        // The caller may be gone (its connection broke). Then the answer has no reader, and the event stays.
        if self.0.send(result).is_err() {
            tracing::debug!("the caller of an append has gone");
        }
    }
}

/// Returns the bytes of all texts of a delivery and of its body.
fn size(delivery: &Delivery) -> usize {
    let Delivery { tenant, endpoint, webhook_id, webhook_timestamp, webhook_signature, secret_label, .. } = delivery;
    let texts = [tenant, endpoint, webhook_id, webhook_timestamp, webhook_signature, secret_label];
    let key = delivery.key.as_ref().map_or(0, |key| key.as_str().len());
    texts.into_iter().map(String::len).sum::<usize>() + key + delivery.body.len()
}

fn unconfirmed(error: ReadError) -> AppendError {
    match error {
        // The damaged run is rebuilt.
        ReadError::Store(error) if error.is_damage() => NotAccepting::KeysUnknown.into(),
        error => AppendError::Unconfirmed(error),
    }
}

/// A cheap handle; the log closes when the last one is dropped.
#[derive(Clone)]
pub struct Appender(Arc<AppenderState>);

/// State shared by the appenders of a log.
struct AppenderState {
    queue: mpsc::Sender<Pending>,
    time: TimeSource,
    /// Reader for key look-ups.
    reader: Reader,
    secret: Arc<LogSecret>,
}

impl Appender {
    pub(in crate::log) fn new(
        queue: mpsc::Sender<Pending>,
        time: TimeSource,
        reader: Reader,
        secret: Arc<LogSecret>,
    ) -> Self {
        Self(Arc::new(AppenderState { queue, time, reader, secret }))
    }

    /// Appends a delivery. Returns once the event, or the first event with its key, is on stable storage. A delivery
    /// whose content differs from that first event is stored as well, once.
    ///
    /// Waits for room in the queue. Once the delivery is queued, dropping the future does not take it back.
    pub async fn append(&self, delivery: Delivery, evidence: TimeEvidence) -> Result<Appended, AppendError> {
        self.append_dated(delivery, self.read_clock().with(evidence)).await
    }

    /// Like [`Self::append`], but with evidence of an earlier time.
    pub async fn append_dated(&self, delivery: Delivery, evidence: DatedEvidence) -> Result<Appended, AppendError> {
        self.put(delivery, StampConditions { evidence, sequence: None }).await?.durable().await
    }

    /// Reads the clock, to date evidence. Call it at the moment at which the evidence is judged.
    pub fn read_clock(&self) -> ClockReading {
        self.0.time.read()
    }

    /// Puts a delivery in the queue and returns before it is durable. Calls that follow one another, each awaited,
    /// append in this order. Futures that are polled concurrently do not: the runtime may wake them in any order.
    pub async fn enqueue(&self, delivery: Delivery, evidence: TimeEvidence) -> Result<Enqueued, AppendError> {
        self.put(delivery, StampConditions { evidence: self.read_clock().with(evidence), sequence: None }).await
    }

    /// Like [`Self::enqueue`], but without evidence, and never without the earlier deliveries of the sequence.
    pub async fn enqueue_in(&self, sequence: &OrderedDeliveries, delivery: Delivery) -> Result<Enqueued, AppendError> {
        let evidence = self.read_clock().with(TimeEvidence::None);
        self.put(delivery, StampConditions { evidence, sequence: Some(sequence.clone()) }).await
    }

    async fn put(&self, delivery: Delivery, origin: StampConditions) -> Result<Enqueued, AppendError> {
        let size = size(&delivery);
        if size > RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge { size });
        }
        let runs = self.runs_for(delivery.provenance)?;
        let (prepared, claim) = self.prepare(delivery)?;
        let lookup = self.look_up(runs, claim).await?;
        self.queue(prepared, claim, lookup, origin).await
    }

    async fn queue(
        &self,
        prepared: Prepared,
        claim: Claim,
        lookup: KeyLookup,
        origin: StampConditions,
    ) -> Result<Enqueued, AppendError> {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { prepared, claim, lookup, origin: origin.clone(), reply: AppendReply(reply) };
        self.0.queue.send(pending).await.map_err(|_| AppendError::Closed)?;
        Ok(Enqueued { appender: self.clone(), origin, answer })
    }

    /// Returns the runs to search. A duplicate is found only if its key is known. So webhooks are refused until the keys
    /// of the last days are known, all other deliveries until all keys are.
    fn runs_for(&self, provenance: Provenance) -> Result<Arc<RunSet>, NotAccepting> {
        let needed = if provenance == Provenance::Webhook { Coverage::Newest } else { Coverage::Whole };
        self.0.reader.check_coverage(needed)
    }

    fn prepare(&self, delivery: Delivery) -> Result<(Prepared, Claim), AppendError> {
        let record = Record::new(&delivery)?;
        let Delivery { tenant, key, body, .. } = delivery;
        let claim = key.map_or(Claim::NONE, |key| Claim {
            digest: Digest::of_event(&self.0.secret, &tenant, &key),
            fingerprint: Fingerprint::of(&self.0.secret, body.content()),
        });
        let prepared = Prepared { record, tenant: tenant.into(), body: body.into_parsed() };
        Ok((prepared, claim))
    }

    /// Searches the runs for a claim. Reads a run only if its filter says that it may have the key.
    async fn look_up(&self, runs: Arc<RunSet>, claim: Claim) -> Result<KeyLookup, AppendError> {
        if claim == Claim::NONE || !runs.may_contain(claim.digest) {
            return Ok(KeyLookup { known: KnownKey { through: runs.through(), ..KnownKey::default() }, runs });
        }
        let reader = self.0.reader.clone();
        let lookup = tokio::task::spawn_blocking(move || {
            let known = reader.look_up(&runs, claim)?;
            Ok(KeyLookup { known, runs })
        });
        // Only the end of the runtime cuts this short.
        lookup.await.map_err(|_| AppendError::Closed)?.map_err(unconfirmed)
    }

    /// Reads what the first verdict lacked (the first event with the key, or the runs), and queues the delivery again.
    async fn requeue(&self, undecided: Undecided, origin: StampConditions) -> Result<Enqueued, AppendError> {
        let Undecided { prepared, claim, mut lookup, first } = undecided;
        let reader = self.0.reader.clone();
        let decided = tokio::task::spawn_blocking(move || {
            lookup.known = reader.decide(&lookup.runs, claim, first)?;
            Ok(lookup)
        });
        let lookup = decided.await.map_err(|_| AppendError::Closed)?.map_err(unconfirmed)?;
        self.queue(prepared, claim, lookup, origin).await
    }

    pub fn identity(&self) -> Identity {
        self.0.reader.identity()
    }

    pub fn downgrade(&self) -> WeakAppender {
        WeakAppender(Arc::downgrade(&self.0))
    }
}

/// A delivery in the queue. It is appended whether or not this is awaited, unless its key is taken and the verdict
/// needs a read.
pub struct Enqueued {
    appender: Appender,
    origin: StampConditions,
    answer: oneshot::Receiver<Result<QueueOutcome, AppendError>>,
}

impl Enqueued {
    /// Waits until the event is durable. See [`Appender::append`].
    pub async fn durable(self) -> Result<Appended, AppendError> {
        let mut enqueued = self;
        loop {
            let Self { appender, origin, answer } = enqueued;
            let undecided = match answer.await.map_err(|_| AppendError::Closed)?? {
                QueueOutcome::Appended(appended) => return Ok(appended),
                QueueOutcome::Undecided(undecided) => undecided,
            };
            let sequence = origin.sequence.clone();
            // The second verdict is final, unless an even earlier event with the key has been found meanwhile.
            enqueued = appender.requeue(*undecided, origin).await.inspect_err(|error| {
                if let Some(sequence) = sequence {
                    sequence.break_off(error);
                }
            })?;
        }
    }
}

/// Reference to an appender that does not keep the log open.
#[derive(Clone)]
pub struct WeakAppender(Weak<AppenderState>);

impl WeakAppender {
    /// Returns an appender. `None` if the log is closed, or closing.
    pub fn upgrade(&self) -> Option<Appender> {
        self.0.upgrade().map(Appender)
    }
}
