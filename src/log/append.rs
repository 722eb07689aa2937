//! The way into the log: hands deliveries to the sequencer and waits for their positions. Knows nothing of how it commits.

use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::{mpsc, oneshot};

use super::Head;
use super::applier::Known;
use super::clock::{ClockError, DatedEvidence, Reading, TimeEvidence, TimeSource};
use super::dedup::{Claim, Coverage, Digest, Fingerprint, KeyEntry, RunSet};
use super::files::secret::LogSecret;
use super::format::Record;
use super::journals::NoRoom;
use super::reader::Reader;
use crate::event::{Delivery, ParsedBody, Position, Provenance};
use crate::segment::ReadError;
use crate::storage::Garbled;
use crate::token::Identity;

/// Largest delivery, headers and body: it must fit one commit even if nothing of it can be compressed.
pub(super) const RECORD_BYTES_MAX: usize = 480 * 1024;

/// Where the event is, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The position of the first event with its key.
    pub position: Position,
    /// The log had its key already.
    pub duplicate: bool,
    /// The first tells something else, and this one is kept beside it.
    pub conflict: bool,
    /// A durable point of the log, not before the event. Where the event is new, the event itself.
    pub reached: Head,
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

/// One delivery on its way to the sequencer.
pub(super) struct Pending {
    pub prepared: Prepared,
    pub claim: Claim,
    pub looked_up: LookedUp,
    pub origin: Origin,
    pub reply: Reply,
}

/// What the runs have of a delivery's key.
pub(super) struct LookedUp {
    pub known: Known,
    /// The runs that were asked. Memory keeps what they do not have while this is held.
    pub runs: Arc<RunSet>,
}

/// A delivery as it is stored, and as the fold needs it. Its bytes must not lie in memory beside its record for as long as the
/// disk takes.
pub(super) struct Prepared {
    pub record: Record,
    pub tenant: Arc<str>,
    pub body: Box<ParsedBody>,
}

/// How a delivery came: what decides whether it may be stamped.
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

/// What became of a delivery.
pub(super) enum Taken {
    Appended(Appended),
    Undecided(Box<Undecided>),
}

/// A delivery whose key is taken by an event that must be read, or looked up, to compare the two. Nothing was appended.
pub(super) struct Undecided {
    pub prepared: Prepared,
    pub claim: Claim,
    pub looked_up: LookedUp,
    pub first: KeyEntry,
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

fn unconfirmed(error: ReadError) -> AppendError {
    match error {
        // The run is made again.
        ReadError::Store(error) if error.is_damage => NoRoom::KeysUnknown.into(),
        error => AppendError::Unconfirmed(error),
    }
}

/// A cheap handle; the log closes when the last one is dropped.
#[derive(Clone)]
pub struct Appender(Arc<Way>);

/// What the appenders of a log share.
struct Way {
    queue: mpsc::Sender<Pending>,
    time: TimeSource,
    /// Looks keys up.
    reader: Reader,
    secret: Arc<LogSecret>,
}

impl Appender {
    pub(super) fn new(queue: mpsc::Sender<Pending>, time: TimeSource, reader: Reader, secret: Arc<LogSecret>) -> Self {
        Self(Arc::new(Way { queue, time, reader, secret }))
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
        self.0.time.read()
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
        let runs = self.runs_for(delivery.provenance)?;
        let (prepared, claim) = self.prepare(delivery)?;
        let looked_up = self.look_up(runs, claim).await?;
        self.queue(prepared, claim, looked_up, origin).await
    }

    async fn queue(
        &self,
        prepared: Prepared,
        claim: Claim,
        looked_up: LookedUp,
        origin: Origin,
    ) -> Result<Enqueued, AppendError> {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { prepared, claim, looked_up, origin: origin.clone(), reply: Reply(reply) };
        self.0.queue.send(pending).await.map_err(|_| AppendError::Closed)?;
        Ok(Enqueued { appender: self.clone(), origin, answer })
    }

    /// The runs to look up in. What is not known cannot be found again: webhooks wait for the keys of the last days, all others for
    /// all keys.
    fn runs_for(&self, provenance: Provenance) -> Result<Arc<RunSet>, NoRoom> {
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

    /// Asks the runs. Reads one only if its filter says that it may have the key.
    async fn look_up(&self, runs: Arc<RunSet>, claim: Claim) -> Result<LookedUp, AppendError> {
        if claim == Claim::NONE || !runs.may_contain(claim.digest) {
            return Ok(LookedUp { known: Known { through: runs.through(), ..Known::default() }, runs });
        }
        let reader = self.0.reader.clone();
        let looked_up = tokio::task::spawn_blocking(move || {
            let known = reader.look_up(&runs, claim)?;
            Ok(LookedUp { known, runs })
        });
        // Cut short only by the end of the runtime.
        looked_up.await.map_err(|_| AppendError::Closed)?.map_err(unconfirmed)
    }

    /// Compares a delivery with the first of its key, which is read, and queues it again.
    async fn decide(&self, undecided: Undecided, origin: Origin) -> Result<Enqueued, AppendError> {
        let Undecided { prepared, claim, mut looked_up, first } = undecided;
        let reader = self.0.reader.clone();
        let decided = tokio::task::spawn_blocking(move || {
            looked_up.known = reader.decide(&looked_up.runs, claim, first)?;
            Ok(looked_up)
        });
        let looked_up = decided.await.map_err(|_| AppendError::Closed)?.map_err(unconfirmed)?;
        self.queue(prepared, claim, looked_up, origin).await
    }

    pub fn identity(&self) -> Identity {
        self.0.reader.identity()
    }

    pub fn downgrade(&self) -> WeakAppender {
        WeakAppender(Arc::downgrade(&self.0))
    }
}

/// A delivery in the queue. It is appended whether or not this is awaited, unless its key is taken by an event that must be read.
pub struct Enqueued {
    appender: Appender,
    origin: Origin,
    answer: oneshot::Receiver<Result<Taken, AppendError>>,
}

impl Enqueued {
    /// See [`Appender::append`].
    pub async fn durable(self) -> Result<Appended, AppendError> {
        let mut enqueued = self;
        loop {
            let Self { appender, origin, answer } = enqueued;
            let undecided = match answer.await.map_err(|_| AppendError::Closed)?? {
                Taken::Appended(appended) => return Ok(appended),
                Taken::Undecided(undecided) => undecided,
            };
            let sequence = origin.sequence.clone();
            // It is decided at the second time, unless a lower position is found for its key meanwhile.
            enqueued = appender.decide(*undecided, origin).await.inspect_err(|error| {
                if let Some(sequence) = sequence {
                    sequence.break_off(error);
                }
            })?;
        }
    }
}

/// A way to an appender for as long as others keep the log open.
#[derive(Clone)]
pub struct WeakAppender(Weak<Way>);

impl WeakAppender {
    /// `None` if the log is closed, or closing.
    pub fn upgrade(&self) -> Option<Appender> {
        self.0.upgrade().map(Appender)
    }
}
