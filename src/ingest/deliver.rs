//! Turns a verified webhook into an event in the log. Knows no HTTP.

use tokio::time::{Instant, timeout_at};

use super::Gate;
use super::budget::Reservation;
use super::outcome::{Accepted, Refusal};
use super::unabandoned::Unabandoned;
use super::verify::{Parts, Verified};
use crate::event::{Body, Delivery, EventKey, ModeVerdict, Provenance};
use crate::log::{AppendError, Appended, Appender, DatedEvidence, NoRoom, Reading};
use crate::token::Token;

/// A verified webhook on its way to the log.
pub(super) struct Arrival {
    delivery: Delivery,
    evidence: DatedEvidence,
    reservation: Reservation,
}

impl Arrival {
    /// Parses the body, the only time. Keeps an unreadable one, too: sending it again would repair nothing.
    /// `verified_at` is the reading of the log's clock when the webhook was verified.
    pub(super) fn new(gate: &Gate, verified: Verified, verified_at: Reading, nonce: [u8; 16]) -> Self {
        let Parts { webhook_id, webhook_timestamp, webhook_signature, secret_label, evidence, body, reservation } =
            verified.into_parts();
        let body = Body::received(body);
        let envelope = &body.parsed().envelope;
        let mode = ModeVerdict::judge(envelope.api_mode.as_deref(), gate.api_mode);
        // An event that applies to no mode claims no key: once the configuration is corrected, it may come again and be
        // applied.
        let key = mode.applies_to().map(|_| EventKey::of(envelope.id.as_deref(), &webhook_id));
        let delivery = Delivery {
            tenant: gate.tenant.clone(),
            endpoint: gate.name.clone(),
            provenance: Provenance::Webhook,
            mode,
            key,
            webhook_id,
            webhook_timestamp,
            webhook_signature,
            secret_label,
            nonce,
            body,
        };
        Self { delivery, evidence: verified_at.with(evidence), reservation }
    }

    /// Appends the event. Waits until it is durable, or until the deadline for the sender's answer.
    pub(super) async fn append(self, appender: &Appender, deadline: Instant) -> Result<Accepted, Refusal> {
        let Self { delivery, evidence, reservation } = self;
        let (log, mode) = (appender.clone(), delivery.mode);
        // Outlives a client that hangs up or is answered 503: the log still holds the reserved bytes. The log answers
        // every append, so this ends.
        let append = Unabandoned::new(async move {
            let ended = log.append_dated(delivery, evidence).await;
            drop(reservation);
            ended
        });
        let Ok(ended) = timeout_at(deadline, append).await else {
            return Err(Refusal::StorageSlow);
        };
        let Appended { position, duplicate, conflict, reached } = ended.map_err(|error| refusal(&error))?;
        let token = Token::read(appender.identity(), reached.position, &reached.chain).encode();
        Ok(Accepted { position, duplicate, token, conflict, mode })
    }
}

fn refusal(error: &AppendError) -> Refusal {
    match error {
        // With an appender alive, only a panic of its writer closes the log: a stop waits for the door.
        AppendError::Failed(_) | AppendError::Unconfirmed(_) | AppendError::Closed => Refusal::StorageFailed,
        AppendError::Clock(_) => Refusal::ClockRefused,
        AppendError::NoRoom(NoRoom::DiskFull) => Refusal::DiskFull,
        AppendError::NoRoom(NoRoom::KeysUnknown) => Refusal::KeysUnknown,
        AppendError::NoRoom(_) => Refusal::StorageSlow,
        AppendError::TooLarge { .. } | AppendError::Unstorable(_) => Refusal::BodyTooLarge,
    }
}
