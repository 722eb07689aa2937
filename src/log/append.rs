//! The way into the log: hands deliveries to the writer and waits for their positions. Knows nothing of how it commits.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::dedup::Digest;
use super::record::Prepared;
use crate::blocklog::ReadError;
use crate::event::{Delivery, EventKey, Hash, Position, Timestamp};
use crate::token::Identity;

/// Largest record, headers and body: it must fit one commit even if nothing of it can be compressed.
pub(super) const RECORD_BYTES_MAX: usize = 480 * 1024;

/// Where the event is, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub position: Position,
    pub recorded_at: Timestamp,
    /// The log had it already: all this is of the first one.
    pub duplicate: bool,
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
    #[error("a record of {size} bytes is more than the log takes ({RECORD_BYTES_MAX})")]
    TooLarge { size: usize },
}

/// One delivery on its way to the writer.
pub(super) struct Pending {
    pub record: Prepared,
    pub claim: Option<Claim>,
    pub reply: Reply,
}

/// An event key that must have one position only.
pub(super) struct Claim {
    pub tenant: String,
    pub key: EventKey,
    pub digest: Digest,
}

/// Somebody waits for this answer: it is owed exactly once.
#[must_use]
pub(super) struct Reply(oneshot::Sender<Result<Appended, AppendError>>);

impl Reply {
    pub fn send(self, result: Result<Appended, AppendError>) {
        // The caller may have gone (its connection broke): the answer then has no reader, and the event stays.
        if self.0.send(result).is_err() {
            tracing::debug!("nobody waits for an answer any more");
        }
    }
}

/// A cheap handle; the log closes when the last one is dropped.
#[derive(Clone)]
pub struct Appender {
    queue: mpsc::Sender<Pending>,
    identity: Identity,
}

impl Appender {
    pub(super) fn new(queue: mpsc::Sender<Pending>, identity: Identity) -> Self {
        Self { queue, identity }
    }

    /// Returns once the event is on stable storage, or the first of its key has been since before.
    ///
    /// Waits for room in the queue. Dropping the future does not take the event back.
    pub async fn append(&self, delivery: Delivery) -> Result<Appended, AppendError> {
        let (record, claim) = self.prepare(delivery);
        if record.size() > RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge { size: record.size() });
        }
        let (reply, answer) = oneshot::channel();
        let pending = Pending { record, claim, reply: Reply(reply) };
        self.queue.send(pending).await.map_err(|_| AppendError::Closed)?;
        answer.await.map_err(|_| AppendError::Closed)?
    }

    /// The delivery ends here: its body must not lie in memory beside its record for as long as the disk takes.
    fn prepare(&self, delivery: Delivery) -> (Prepared, Option<Claim>) {
        let record = Prepared::of(&delivery);
        let Delivery { tenant, key, .. } = delivery;
        let claim = key.map(|key| Claim { digest: Digest::of(self.identity.log_id, &tenant, &key), tenant, key });
        (record, claim)
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;

    use super::*;
    use crate::event::{ModeVerdict, Provenance};

    #[test]
    fn a_body_is_let_go_of_before_its_event_is_durable() {
        let (queue, mut waiting) = mpsc::channel(1);
        let appender = Appender::new(queue, Identity { log_id: 1, epoch: 1 });
        let body = Bytes::from(vec![b'x'; 1000]);
        let delivery = Delivery {
            tenant: "default".into(),
            endpoint: "fasten".into(),
            provenance: Provenance::Webhook,
            mode: ModeVerdict::Live,
            key: Some(EventKey::of(Some("a"), "")),
            webhook_id: "msg_a".into(),
            webhook_timestamp: "1700000000".into(),
            webhook_signature: "v1,AAAA".into(),
            secret_label: "1".into(),
            nonce: [7; 16],
            body: body.clone(),
        };
        let mut append = pin!(appender.append(delivery));
        assert!(matches!(append.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
        assert!(waiting.try_recv().is_ok(), "the writer has the record");
        assert!(body.is_unique(), "nobody else holds the body");
    }
}
