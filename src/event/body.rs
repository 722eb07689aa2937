//! A body with its parsed content: parsed once, on first use, and carried with the bytes through the process.
//!
//! Knows no transport and no storage, and not the meaning of a report for a state.

use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;

use bytes::Bytes;

use super::envelope::Envelope;
use super::fingerprint::{self, fingerprint};
use super::kind::Kind;
use super::object::Object;
use super::payload;
use super::position::Hash;
use super::report::Report;

/// The bytes of a body, valid or not.
#[derive(Default)]
pub struct Body {
    bytes: Bytes,
    parsed: OnceLock<Box<ParsedBody>>,
    content: OnceLock<Hash>,
}

/// The parsed content of a body.
pub struct ParsedBody {
    /// All fields are absent if the body is no JSON object.
    pub envelope: Envelope<'static>,
    pub is_readable: bool,
    pub kind: Kind,
    /// The organisation at Fasten, as written. `None` if the body names none.
    pub organisation: Option<String>,
    /// `None` if the body reports nothing about connections and exports.
    pub report: Option<Report>,
    /// Approximate size of this value in memory, in bytes.
    pub weight: usize,
}

impl Body {
    /// Builds the body of a new delivery. Computes its parsed content and its [`content`](Self::content) digest in one
    /// pass.
    pub fn received(bytes: Bytes) -> Self {
        let object = Object::read(&bytes);
        let content = fingerprint::of(&bytes, object.as_ref()).into();
        let parsed = OnceLock::from(Box::new(ParsedBody::of(object, bytes.len())));
        Self { bytes, parsed, content }
    }

    /// Digest of the content; see [`fingerprint`](fingerprint::fingerprint).
    pub fn content(&self) -> &Hash {
        self.content.get_or_init(|| fingerprint(&self.bytes))
    }

    /// The parsed content. Parses the body on first use.
    pub fn parsed(&self) -> &ParsedBody {
        self.parsed.get_or_init(|| Box::new(ParsedBody::of(Object::read(&self.bytes), self.bytes.len())))
    }

    /// Drops the bytes and returns the parsed content.
    pub fn into_parsed(self) -> Box<ParsedBody> {
        self.parsed
            .into_inner()
            .unwrap_or_else(|| Box::new(ParsedBody::of(Object::read(&self.bytes), self.bytes.len())))
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl ParsedBody {
    /// Reads the content of `object`, the body. `None` if the body is no JSON object.
    fn of(object: Option<Object<'_>>, body_bytes: usize) -> Self {
        let Some(object) = object else {
            return Self {
                envelope: Envelope::default(),
                is_readable: false,
                kind: Kind::UNKNOWN,
                organisation: None,
                report: None,
                weight: size_of::<Self>(),
            };
        };
        let envelope = Envelope::of(&object).into_owned();
        let kind = Kind::of_word(envelope.kind.as_deref());
        let fields = object.object("data").unwrap_or(object);
        let organisation = fields.text("org_id").map(Into::into);
        let report = payload::report(&fields, kind, envelope.date.as_deref());
        let weight = size_of::<Self>() + body_bytes + report.as_ref().map_or(0, Report::list_bytes);
        Self { envelope, is_readable: true, kind, organisation, report, weight }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self { bytes: bytes.into(), ..Self::default() }
    }
}

impl Deref for Body {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

/// Clones the bytes only, not the parsed content.
impl Clone for Body {
    fn clone(&self) -> Self {
        self.bytes.clone().into()
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Body {}

// Keeps patients' data out of logs, panics and test output.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("bytes", &self.len()).finish_non_exhaustive()
    }
}
