//! A delivery, as a sender made it, and an event, as the log has it. Knows nothing of how either is stored.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::body::{Body, ParsedBody};
use super::mode::{ApiMode, ModeVerdict};
use super::position::{Hash, Position};
use super::time::Timestamp;

/// Source of the random, unguessable bytes that hide a body behind its digest.
pub type Nonces = Arc<dyn Fn() -> [u8; 16] + Send + Sync>;

/// Maximum length of an id in a key. Fasten's ids are UUIDs of 36 bytes.
const ID_BYTES_MAX: usize = 512;

/// How an event came into the log. The numbers are stored; never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Provenance {
    Webhook = 1,
    Import = 2,
    Local = 3,
}

impl Provenance {
    pub fn from_stored(byte: u8) -> Option<Self> {
        [Self::Webhook, Self::Import, Self::Local].into_iter().find(|provenance| *provenance as u8 == byte)
    }
}

/// Identifies an event within a tenant, over all its deliveries: `id:` and the body's id, else `whid:` and the
/// webhook-id. The body's id stays the same over Fasten's retries, while date and signature change, and so the body's
/// bytes. An id that is longer than any honest one is replaced by its SHA-256 in base64url, as `idsha:`. So a key is
/// small, whatever was signed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventKey(String);

impl EventKey {
    pub fn of(envelope_id: Option<&str>, webhook_id: &str) -> Self {
        Self::of_id(envelope_id).unwrap_or_else(|| Self(format!("whid:{webhook_id}")))
    }

    /// The key of a payload without headers: `sha:` and the body's digest if it has no id.
    pub fn of_import(envelope_id: Option<&str>, body: &[u8]) -> Self {
        Self::of_id(envelope_id)
            .unwrap_or_else(|| Self(format!("sha:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(body)))))
    }

    fn of_id(envelope_id: Option<&str>) -> Option<Self> {
        match envelope_id? {
            "" => None,
            long if long.len() > ID_BYTES_MAX => {
                Some(Self(format!("idsha:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(long)))))
            }
            id => Some(Self(format!("id:{id}"))),
        }
    }

    /// Builds a key from its printed or stored text.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One delivery that may enter the log: all fields but those that the log assigns.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    pub tenant: String,
    pub endpoint: String,
    pub provenance: Provenance,
    pub mode: ModeVerdict,
    /// `None` if the event claims no key. Such an event is never a duplicate.
    pub key: Option<EventKey>,
    pub webhook_id: String,
    /// The unchanged text of the header: the signature covers it.
    pub webhook_timestamp: String,
    pub webhook_signature: String,
    /// The label of the secret that matched.
    pub secret_label: String,
    /// Random bytes that hide the body behind its digest in the chain, so that the body can be erased later.
    pub nonce: [u8; 16],
    pub body: Body,
}

/// How much of an event can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    Whole,
    /// Everything that could identify a person is permanently gone: body, key, webhook-id and signature are empty.
    Erased,
    /// Like [`Self::Erased`], but the bytes are still stored: they cannot be read for lack of their encryption key.
    Encrypted,
}

/// One delivery in the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    pub position: Position,
    /// Time stamped by the writer, never before the previous event's.
    pub recorded_at: Timestamp,
    pub delivery: Delivery,
    /// The hash chain's value after this event.
    pub chain: Hash,
    /// Position of the first event with its key. `None` if this event does not contradict that one.
    pub conflict_of: Option<Position>,
    pub contents: Contents,
}

impl Event {
    /// The mode whose state the event changes. `None` if it contradicts another event of its key, cannot be read, or
    /// has no applicable mode: then it changes nothing.
    pub fn applies_to(&self) -> Option<ApiMode> {
        if self.conflict_of.is_some() || self.contents != Contents::Whole {
            return None;
        }
        self.delivery.mode.applies_to()
    }
}

/// An event in the form that a state is built from: parsed, without its bytes.
pub struct ParsedEvent {
    pub position: Position,
    pub recorded_at: Timestamp,
    /// The hash chain's value after this event.
    pub chain: Hash,
    pub tenant: Arc<str>,
    pub provenance: Provenance,
    /// See [`Event::applies_to`].
    pub applies_to: Option<ApiMode>,
    pub body: Box<ParsedBody>,
}

impl From<Event> for ParsedEvent {
    fn from(event: Event) -> Self {
        let applies_to = event.applies_to();
        let Event { position, recorded_at, delivery, chain, .. } = event;
        let Delivery { tenant, provenance, body, .. } = delivery;
        Self { position, recorded_at, chain, tenant: tenant.into(), provenance, applies_to, body: body.into_parsed() }
    }
}

// Bodies, keys and signatures never reach a log line, not even by `{:?}`: docs/guarantees.md, privacy.

impl fmt::Debug for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventKey(..)")
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("tenant", &self.tenant)
            .field("endpoint", &self.endpoint)
            .field("mode", &self.mode)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("position", &self.position)
            .field("delivery", &self.delivery)
            .field("contents", &self.contents)
            .finish_non_exhaustive()
    }
}
