//! A body, and what it says: parsed once, by whoever asks first, and kept beside the bytes on their way through the process.
//!
//! Knows no transport, no storage, and not what a report means for a state.

use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;

use bytes::Bytes;

use super::envelope::Envelope;
use super::kind::Kind;
use super::object::Object;
use super::payload;
use super::report::Report;

/// The bytes of a body, whatever they are.
#[derive(Default)]
pub struct Body {
    bytes: Bytes,
    parsed: OnceLock<Box<ParsedBody>>,
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
    /// Parses the body, unless that was done before.
    pub fn parsed(&self) -> &ParsedBody {
        self.parsed.get_or_init(|| Box::new(ParsedBody::parse(&self.bytes)))
    }

    /// Lets the bytes go.
    pub fn into_parsed(self) -> Box<ParsedBody> {
        self.parsed.into_inner().unwrap_or_else(|| Box::new(ParsedBody::parse(&self.bytes)))
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl ParsedBody {
    fn parse(bytes: &[u8]) -> Self {
        let Some(object) = Object::read(bytes) else {
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
        let weight = size_of::<Self>() + bytes.len() + report.as_ref().map_or(0, Report::list_bytes);
        Self { envelope, is_readable: true, kind, organisation, report, weight }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self { bytes: bytes.into(), parsed: OnceLock::new() }
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
