//! A JSON object whose values are parsed on request only, so an odd value harms no other and costs nothing. Knows no
//! field by name.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Names with their values as written, in order.
pub struct Object<'a>(Vec<(Name<'a>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Parses an object. `None` if the bytes are not UTF-8, not JSON, or no object. Skips a byte-order mark.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).ok()
    }

    /// The value of a name. The last value of a repeated name counts.
    pub(super) fn last(&self, name: &str) -> Option<Json<'a>> {
        self.0.iter().rev().find(|(Name(written), _)| written == name).map(|(_, value)| Json(value.get()))
    }

    /// The value as an object. `None` if it is no object.
    pub fn object(&self, name: &str) -> Option<Object<'a>> {
        self.last(name)?.object()
    }

    /// The value as text. `None` if it is no string, or empty.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.last(name)?.text()
    }

    /// The value as an id: a text, or a number of digits only, as written. `None` if it is another value, or an empty
    /// string.
    pub fn id(&self, name: &str) -> Option<Cow<'a, str>> {
        self.last(name)?.id()
    }

    /// The value as a number. `None` if it is no integer from 0 to 2^64-1.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.last(name)?.number()
    }

    /// The elements of a list, or else the value itself. Empty if the name does not occur.
    pub fn several(&self, name: &str) -> Vec<Json<'a>> {
        let Some(value) = self.last(name) else { return Vec::new() };
        match serde_json::from_str::<Vec<&RawValue>>(value.0) {
            Ok(elements) => elements.into_iter().map(|element| Json(element.get())).collect(),
            Err(_) => vec![value],
        }
    }

    /// Every name with its value.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Json<'a>)> {
        self.0.iter().map(|(Name(name), value)| (&**name, Json(value.get())))
    }
}

/// One value, as written.
#[derive(Clone, Copy)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// The value as an object. `None` if it is no object.
    pub fn object(self) -> Option<Object<'a>> {
        serde_json::from_str(self.0).ok()
    }

    /// The value as text. `None` if it is no string, or empty.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        let text = if inner.contains('\\') {
            serde_json::from_str(self.0).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inner))
        };
        text.filter(|text| !text.is_empty())
    }

    fn id(self) -> Option<Cow<'a, str>> {
        let digits = self.0.bytes().all(|byte| byte.is_ascii_digit());
        if digits { Some(Cow::Borrowed(self.0)) } else { self.text() }
    }

    /// The value as a number. `None` if it is no integer from 0 to 2^64-1.
    pub fn number(self) -> Option<u64> {
        self.0.parse().ok()
    }

    pub fn as_written(self) -> &'a str {
        self.0
    }
}

/// A name, borrowed if it is written without escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsWritten;
        impl<'de> Visitor<'de> for AsWritten {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(AsWritten)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(16);
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_value_harms_no_other_and_the_last_of_two_counts() {
        let body = br#"{"a":"x","n":1e999,"s":"\ud800","a":"y\u00e9","d":{"e":"z"},"f":7}"#;
        let object = Object::read(body).unwrap();
        assert_eq!((object.text("a").as_deref(), object.text("s"), object.text("f")), (Some("y\u{e9}"), None, None));
        assert_eq!(object.object("d").unwrap().text("e").as_deref(), Some("z"));
        assert_eq!((object.number("f"), object.number("n"), object.number("a")), (Some(7), None, None));
        assert!(object.object("f").is_none());
        for body in ["", "[]", "{\"a\":\"b\"", "{\"a\":\"b\"} x", "{\"a\":\"\u{0}\"}"] {
            assert!(Object::read(body.as_bytes()).is_none(), "{body:?}");
        }
        assert!(Object::read(b"{\"a\":\"\xff\"}").is_none());
        assert_eq!(Object::read("\u{feff}{\"a\":\"b\"}".as_bytes()).unwrap().text("a").as_deref(), Some("b"));
        assert!(Object::read("\u{feff}\u{feff}{}".as_bytes()).is_none());
    }

    #[test]
    fn an_id_is_a_text_or_a_number_of_digits_of_any_length() {
        let huge = "9".repeat(400);
        let body =
            format!(r#"{{"a":1842,"b":"x","c":{huge},"d":-1,"e":1.5,"f":1e5,"g":null,"h":true,"i":"","j":[1],"k":0}}"#);
        let object = Object::read(body.as_bytes()).unwrap();
        let ids: Vec<_> = "abcdefghijk".split("").filter_map(|name| object.id(name)).collect();
        assert_eq!(ids, ["1842", "x", &huge, "0"]);
    }

    #[test]
    fn a_list_is_several_and_any_other_value_is_one() {
        let object = Object::read(br#"{"l":["a",{"b":"c"},"\ud800",null],"o":"d"}"#).unwrap();
        let texts = |name| object.several(name).into_iter().map(|json| json.text().map(Into::into)).collect::<Vec<_>>();
        assert_eq!(texts("l"), [Some("a".to_owned()), None, None, None]);
        assert_eq!(object.several("l")[1].object().unwrap().text("b").as_deref(), Some("c"));
        assert_eq!((texts("o"), texts("none")), (vec![Some("d".to_owned())], vec![]));
    }
}
