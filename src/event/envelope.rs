//! Reads the few fields that all bodies share, and nothing else. The bytes may be anything.
//!
//! Never fails: an unreadable field is absent. Knows nothing of the contents of `data`.

use std::borrow::Cow;

use super::object::Object;

/// The envelope of a body, as far as it is readable. Source: Fasten's "webhooks/introduction".
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Identifies the event over all its deliveries.
    pub id: Option<Cow<'a, str>>,
    /// `type`, or `event_type` as Fasten's own front end spells it.
    pub kind: Option<Cow<'a, str>>,
    pub api_mode: Option<Cow<'a, str>>,
    /// Time of this delivery attempt, not of the event.
    pub date: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    /// Reads a body. All fields are absent if the body is no JSON object. A field is absent if it is no string, or
    /// empty; but the id may be a number. The last value of a repeated key counts.
    pub fn read(body: &'a [u8]) -> Self {
        Object::read(body).as_ref().map(Self::of).unwrap_or_default()
    }

    /// Like [`Self::read`], but for a body that is parsed already.
    pub fn of(body: &Object<'a>) -> Self {
        Self {
            id: body.id("id"),
            kind: body.text("type").or_else(|| body.text("event_type")),
            api_mode: body.text("api_mode"),
            date: body.text("date"),
        }
    }

    /// Copies the borrowed fields, so that the body can be dropped.
    pub fn into_owned(self) -> Envelope<'static> {
        let owned = |text: Option<Cow<'a, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        Envelope { id: owned(self.id), kind: owned(self.kind), api_mode: owned(self.api_mode), date: owned(self.date) }
    }
}

/// What an event's body is at first sight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodySummary {
    /// The event's type. Empty if the body names none.
    pub kind: String,
    /// Whether the body is no JSON object, or is gone.
    pub is_unreadable: bool,
}

impl BodySummary {
    pub fn read(body: &[u8]) -> Self {
        let object = Object::read(body);
        let kind = object.as_ref().and_then(|object| Envelope::of(object).kind).map(Into::into);
        Self { kind: kind.unwrap_or_default(), is_unreadable: object.is_none() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(id: Option<&'static str>, kind: Option<&'static str>) -> Envelope<'static> {
        Envelope { id: id.map(Cow::Borrowed), kind: kind.map(Cow::Borrowed), ..Envelope::default() }
    }

    #[test]
    fn a_field_of_another_type_or_an_empty_string_is_absent() {
        assert_eq!(Envelope::read(br#"{"id":7,"type":8}"#), envelope(Some("7"), None));
        assert_eq!(Envelope::read(br#"{"id":7.5,"type":"webhook.test"}"#), envelope(None, Some("webhook.test")));
        assert_eq!(Envelope::read(br#"{"id":{"a":[1,{}]},"type":""}"#), Envelope::default());
    }

    #[test]
    fn last_of_equal_keys_counts_and_event_type_stands_in_for_type() {
        assert_eq!(Envelope::read(br#"{"id":"a","id":"b","event_type":"x"}"#), envelope(Some("b"), Some("x")));
    }

    #[test]
    fn escapes_are_read_and_anything_unreadable_is_absent() {
        assert_eq!(Envelope::read(br#"{"i\u0064":"\u00e9\n"}"#), envelope(Some("\u{e9}\n"), None));
        for body in ["", "[]", "\"id\"", "{\"id\":\"a\"", "{\"id\":\"a\"} x"] {
            assert_eq!(Envelope::read(body.as_bytes()), Envelope::default(), "{body:?}");
        }
        assert_eq!(Envelope::read(b"{\"id\":\"\xff\"}"), Envelope::default());
    }
}
