//! Reads the few fields that every body shares, and nothing else, from bytes that may be anything.
//!
//! Never fails: what cannot be read is absent. What `data` holds is the fold's business.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// The envelope of a body, as far as it can be read. Source: Fasten's "webhooks/introduction".
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Identifies the event over all its deliveries.
    pub id: Option<Cow<'a, str>>,
    /// `type`, or `event_type` as Fasten's own front end spells it.
    pub kind: Option<Cow<'a, str>>,
    pub api_mode: Option<Cow<'a, str>>,
    /// When this delivery was attempted; not when the event happened.
    pub date: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    /// Absent fields for a body that is not a JSON object, fields of other types than string, and empty strings.
    /// Of a key that comes twice, the last one counts.
    pub fn read(body: &'a [u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        let mut event_type = None;
        while let Some(Text(key)) = map.next_key()? {
            let field = match key.as_deref() {
                Some("id") => &mut envelope.id,
                Some("type") => &mut envelope.kind,
                Some("event_type") => &mut event_type,
                Some("api_mode") => &mut envelope.api_mode,
                Some("date") => &mut envelope.date,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *field = map.next_value::<Text>()?.0.filter(|text| !text.is_empty());
        }
        envelope.kind = envelope.kind.or(event_type);
        Ok(envelope)
    }
}

/// A string, or None for any other JSON value.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(text.to_owned()))))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
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
        assert_eq!(read(r#"{"id":7,"type":"webhook.test"}"#), (None, Some("webhook.test".into())));
        assert_eq!(read(r#"{"id":{"a":[1,{}]},"type":""}"#), (None, None));
    }

    #[test]
    fn the_last_of_two_equal_keys_counts_and_event_type_stands_in_for_type() {
        assert_eq!(read(r#"{"id":"a","id":"b","event_type":"x"}"#), (Some("b".into()), Some("x".into())));
    }

    #[test]
    fn escapes_are_read_and_anything_unreadable_is_absent() {
        assert_eq!(read(r#"{"i\u0064":"\u00e9\n"}"#), (Some("\u{e9}\n".into()), None));
        for body in ["", "[]", "\"id\"", "{\"id\":\"a\"", "{\"id\":\"a\"} x", "\u{feff}{\"id\":\"a\"}"] {
            assert_eq!(read(body), (None, None), "{body:?}");
        }
        assert_eq!(Envelope::read(b"{\"id\":\"\xff\"}"), Envelope::default());
    }
}
