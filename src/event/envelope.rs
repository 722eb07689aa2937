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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> (Option<String>, Option<String>) {
        let envelope = Envelope::read(body.as_bytes());
        (envelope.id.map(Into::into), envelope.kind.map(Into::into))
    }

    #[test]
    fn a_field_of_another_type_or_an_empty_string_is_absent() {
        assert_eq!(read(r#"{"id":7,"type":8}"#), (Some("7".into()), None));
        assert_eq!(read(r#"{"id":7.5,"type":"webhook.test"}"#), (None, Some("webhook.test".into())));
        assert_eq!(read(r#"{"id":{"a":[1,{}]},"type":""}"#), (None, None));
    }

    #[test]
    fn last_of_equal_keys_counts_and_event_type_stands_in_for_type() {
        assert_eq!(read(r#"{"id":"a","id":"b","event_type":"x"}"#), (Some("b".into()), Some("x".into())));
    }

    #[test]
    fn escapes_are_read_and_anything_unreadable_is_absent() {
        assert_eq!(read(r#"{"i\u0064":"\u00e9\n"}"#), (Some("\u{e9}\n".into()), None));
        for body in ["", "[]", "\"id\"", "{\"id\":\"a\"", "{\"id\":\"a\"} x"] {
            assert_eq!(read(body), (None, None), "{body:?}");
        }
        assert_eq!(Envelope::read(b"{\"id\":\"\xff\"}"), Envelope::default());
    }
}
