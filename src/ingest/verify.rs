//! Verifies Standard Webhooks, version 1: HMAC-SHA256 over `id.timestamp.body`, the raw bytes.
//!
//! Only webhooks that pass here are [`Verified`], and only a `Verified` can become a delivery. Pure: the current time
//! is a parameter.

use std::time::Duration;

use bytes::Bytes;
use hmac::digest::KeyInit as _;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};

use super::body::Held;
use super::budget::InflightReservation;
use super::local_tool::LOCAL_TOOL_MARK;
use super::outcome::WebhookRefusal;
use super::request::SignedHeaders;
use crate::config::Secret;
use crate::event::Timestamp;
use crate::log::TimeEvidence;

/// The keys of one endpoint.
pub(super) struct Keyring {
    /// The development key comes last, so that it counts only if no other matches.
    keys: Vec<SigningKey>,
    for_development: bool,
}

struct SigningKey {
    label: String,
    mac: Hmac<Sha256>,
    development: bool,
}

/// Maximum difference between a timestamp and now, in either direction.
#[derive(Clone, Copy)]
pub(super) struct Tolerance {
    micros: u64,
}

/// A webhook that was signed with a configured secret, and is recent.
pub(super) struct Verified {
    id: String,
    timestamp: String,
    signature: String,
    label: String,
    evidence: TimeEvidence,
    body: Held,
}

/// The parts of a [`Verified`] webhook.
pub(super) struct Parts {
    pub(super) webhook_id: String,
    pub(super) webhook_timestamp: String,
    pub(super) webhook_signature: String,
    pub(super) secret_label: String,
    pub(super) evidence: TimeEvidence,
    pub(super) body: Bytes,
    pub(super) reservation: InflightReservation,
}

impl Tolerance {
    pub(super) fn new(tolerance: Duration) -> Self {
        Self { micros: u64::try_from(tolerance.as_micros()).unwrap_or(u64::MAX) }
    }

    fn allows(self, seconds: i64, now: Timestamp) -> bool {
        seconds.saturating_mul(1_000_000).abs_diff(now.as_micros()) <= self.micros
    }
}

impl Keyring {
    /// Builds a keyring. `for_development` if no endpoint has a secret other than the development one. Otherwise
    /// webhooks from this machine's tools are no evidence of the time: a wrong clock would stamp them, and then be
    /// behind the log for the webhooks of others.
    pub(super) fn new(secrets: &[Secret], for_development: bool) -> Self {
        // HMAC takes a key of any length: no secret is lost here.
        let key = |secret: &Secret| {
            let mac = Hmac::new_from_slice(secret.key()).ok()?;
            Some(SigningKey { label: secret.label().to_owned(), mac, development: secret.is_development() })
        };
        let mut keys: Vec<SigningKey> = secrets.iter().filter_map(key).collect();
        keys.sort_by_key(|key| key.development);
        Self { keys, for_development }
    }

    /// Verifies a webhook. Checks the signature before the timestamp, to know whether a stale webhook was correctly
    /// signed.
    pub(super) fn verify(
        &self,
        headers: SignedHeaders,
        body: Held,
        now: Timestamp,
        tolerance: Tolerance,
    ) -> Result<Verified, WebhookRefusal> {
        let key =
            self.keys.iter().find(|key| key.signed(&headers, &body.bytes)).ok_or(WebhookRefusal::SignatureMismatch)?;
        if key.development && !headers.from_local_tool {
            return Err(WebhookRefusal::DevelopmentSecretRefused);
        }
        if !tolerance.allows(headers.seconds, now) {
            return Err(WebhookRefusal::StaleTimestamp);
        }
        let evidence = self.time_evidence(key, &headers.id);
        let SignedHeaders { id, timestamp, signature, .. } = headers;
        Ok(Verified { id, timestamp, signature, label: key.label.clone(), evidence, body })
    }

    /// The evidence of the time from a webhook with this id. Local tools take the time from the same clock that judges
    /// them.
    fn time_evidence(&self, key: &SigningKey, webhook_id: &str) -> TimeEvidence {
        if key.development && self.for_development {
            TimeEvidence::Development
        } else if key.development || webhook_id.starts_with(LOCAL_TOOL_MARK) {
            TimeEvidence::None
        } else {
            TimeEvidence::Signed
        }
    }
}

impl SigningKey {
    /// Whether one of the signatures is of this key. The time does not depend on which one it is, or on how much of it
    /// is right.
    fn signed(&self, headers: &SignedHeaders, body: &[u8]) -> bool {
        let mut mac = self.mac.clone();
        for part in [headers.id.as_bytes(), b".", headers.timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        let right = mac.finalize().into_bytes();
        let matches = |found: Choice, signature: &[u8; 32]| found | right.as_slice().ct_eq(signature);
        headers.signatures.iter().fold(Choice::from(0), matches).into()
    }
}

impl Verified {
    pub(super) fn evidence(&self) -> TimeEvidence {
        self.evidence
    }

    pub(super) fn into_parts(self) -> Parts {
        Parts {
            webhook_id: self.id,
            webhook_timestamp: self.timestamp,
            webhook_signature: self.signature,
            secret_label: self.label,
            evidence: self.evidence,
            body: self.body.bytes,
            reservation: self.body.reservation,
        }
    }
}
