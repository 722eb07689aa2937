//! The words everything else speaks: deliveries, events, positions, modes. Pure data, no I/O, no clock.
//!
//! Knows nothing of storage, transport or configuration; everything may import it.

mod body;
mod canonical;
mod envelope;
mod gist;
mod kind;
mod object;
mod payload;
mod report;
mod text;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

pub use body::{Body, ParsedBody};
pub use envelope::Envelope;
pub use gist::gist;
pub use kind::Kind;
pub use object::{Json, Object};
pub use report::{Attempt, Facts, Link, Outcome, Report, Stats, Told};
pub use text::{TEXT_BYTES_MAX, Text, bounded};

/// A place in the log: 1, 2, 3, ... without gaps within an epoch. 0 stands before the first event.
pub type Position = u64;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// Microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Later by so many microseconds; saturates at the end of time.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// Where the time comes from. Made once, at the edge; everything else is handed it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Makes the random bytes that hide a body behind its digest: unguessable.
pub type Nonces = Arc<dyn Fn() -> [u8; 16] + Send + Sync>;

/// Which of Fasten's two worlds a fact belongs to. They never mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApiMode {
    Live,
    Test,
}

impl ApiMode {
    /// As a byte; never reuse one.
    pub fn stored(self) -> u8 {
        match self {
            Self::Live => 1,
            Self::Test => 2,
        }
    }

    pub fn from_stored(byte: u8) -> Option<Self> {
        [Self::Live, Self::Test].into_iter().find(|mode| mode.stored() == byte)
    }
}

/// Whether an event may change state, and in which mode: the body's `api_mode` compared with its endpoint's. Without a mode
/// that it applies to, an event is kept, claims no key and changes nothing; it can be readmitted once its endpoint's mode is
/// fixed. The numbers are stored; never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ModeVerdict {
    Live = 1,
    Test = 2,
    /// The body names another mode than its endpoint expects.
    Mismatched = 3,
    /// Neither the body nor its endpoint names a known mode.
    Unknown = 4,
}

impl ModeVerdict {
    /// `expected` is the endpoint's mode, if it is fixed to one.
    pub fn judge(named: Option<&str>, expected: Option<ApiMode>) -> Self {
        match (named, expected) {
            (Some("live"), None | Some(ApiMode::Live)) | (None, Some(ApiMode::Live)) => Self::Live,
            (Some("test"), None | Some(ApiMode::Test)) | (None, Some(ApiMode::Test)) => Self::Test,
            (Some(_), Some(_)) => Self::Mismatched,
            (_, None) => Self::Unknown,
        }
    }

    /// The mode whose state the event changes, if any.
    pub fn applies_to(self) -> Option<ApiMode> {
        match self {
            Self::Live => Some(ApiMode::Live),
            Self::Test => Some(ApiMode::Test),
            Self::Mismatched | Self::Unknown => None,
        }
    }

    pub fn from_stored(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Live,
            2 => Self::Test,
            3 => Self::Mismatched,
            4 => Self::Unknown,
            _ => return None,
        })
    }
}

/// Fasten's ids are UUIDs of 36.
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
        Some(match byte {
            1 => Self::Webhook,
            2 => Self::Import,
            3 => Self::Local,
            _ => return None,
        })
    }
}

/// What all deliveries of one event share, within a tenant: `id:` and the body's id (it stays the same over Fasten's
/// retries, while date, signature and so the body's bytes change), else `whid:` and the webhook-id. An id that is longer than
/// any honest one stands in the key by its SHA-256 in base64url, as `idsha:`, so that a key is small whatever was signed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventKey(String);

impl EventKey {
    pub fn of(envelope_id: Option<&str>, webhook_id: &str) -> Self {
        Self::of_id(envelope_id).unwrap_or_else(|| Self(format!("whid:{webhook_id}")))
    }

    /// Of a payload that came without headers: `sha:` and the body's digest, if it has no id.
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

    /// From a key as it was printed or stored.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One delivery that may enter the log: everything but what the log itself assigns.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    pub tenant: String,
    pub endpoint: String,
    pub provenance: Provenance,
    pub mode: ModeVerdict,
    /// None claims no key: such an event is never a duplicate.
    pub key: Option<EventKey>,
    pub webhook_id: String,
    /// The header's own bytes: they are what was signed.
    pub webhook_timestamp: String,
    pub webhook_signature: String,
    /// The label of the secret that matched.
    pub secret_label: String,
    /// Random: hides the body behind its digest in the chain, so that the body can be erased one day.
    pub nonce: [u8; 16],
    pub body: Body,
}

/// What of an event can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    Whole,
    /// All that could say whom it is about is gone for good: body, key, webhook-id and signature are empty.
    Erased,
    /// The same, without its key.
    Encrypted,
}

/// One delivery in the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    pub position: Position,
    /// Stamped by the writer; never before the previous event's.
    pub recorded_at: Timestamp,
    pub delivery: Delivery,
    /// The hash chain's value after this event.
    pub chain: Hash,
    /// The first event with its key. `None` if it does not contradict that event.
    pub conflict_of: Option<Position>,
    pub contents: Contents,
}

impl Event {
    /// The mode whose state it changes, if any: what contradicts another event of its key changes nothing, nor does what cannot
    /// be read.
    pub fn applies_to(&self) -> Option<ApiMode> {
        let applies = self.conflict_of.is_none() && self.contents == Contents::Whole;
        self.delivery.mode.applies_to().filter(|_| applies)
    }
}

/// An event as a state needs it: parsed, and without its bytes.
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
