//! A body, and what it says: parsed once, by whoever asks first, and kept beside the bytes on their way through the process.
//!
//! Knows no transport, no storage, and not what a report means for a state.

use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;

use bytes::Bytes;

use super::Hash;
use super::envelope::Envelope;
use super::gist;
use super::kind::Kind;
use super::object::Object;
use super::payload;
use super::report::Report;

/// The bytes of a body, whatever they are.
#[derive(Default)]
pub struct Body {
    bytes: Bytes,
    parsed: OnceLock<Box<ParsedBody>>,
    content: OnceLock<Hash>,
}

/// What a body says.
pub struct ParsedBody {
    /// Absent fields if it is no JSON object.
    pub envelope: Envelope<'static>,
    pub is_readable: bool,
    pub kind: Kind,
    /// The organisation at Fasten, as it is written. `None` if it names none.
    pub organisation: Option<String>,
    /// `None` if it reports nothing of connections and exports.
    pub report: Option<Report>,
    /// Bytes that this takes in memory, about.
    pub weight: usize,
}

impl Body {
    /// A body that has come in: what it says and its [`content`](Self::content) are read in one go.
    pub fn received(bytes: Bytes) -> Self {
        let object = Object::read(&bytes);
        let content = gist::of(&bytes, object.as_ref()).into();
        let parsed = OnceLock::from(Box::new(ParsedBody::of(object, bytes.len())));
        Self { bytes, parsed, content }
    }

    /// See [`gist`](gist::gist).
    pub fn content(&self) -> &Hash {
        self.content.get_or_init(|| gist(&self.bytes))
    }

    /// Parses the body, unless that was done before.
    pub fn parsed(&self) -> &ParsedBody {
        self.parsed.get_or_init(|| Box::new(ParsedBody::of(Object::read(&self.bytes), self.bytes.len())))
    }

    /// Lets the bytes go.
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
    /// `object`: the body. `None` if it is no JSON object.
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

/// Without what was parsed.
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

// What it holds of patients stays out of logs, panics and test output.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("bytes", &self.len()).finish_non_exhaustive()
    }
}
