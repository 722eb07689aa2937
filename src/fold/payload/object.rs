//! A JSON object whose values are only looked into when they are asked for: so an odd one harms no other, and costs nothing.
//! Knows no field by name.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Names with their values as they were written, in order.
pub struct Object<'a>(Vec<(Name<'a>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// None for anything else than an object, and for what is no JSON.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Of a name that comes twice, the last counts.
    fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(Name(it), _)| it == name).map(|(_, value)| value.get())
    }

    pub fn object(&self, name: &str) -> Option<Object<'a>> {
        Object::read(self.raw(name)?.as_bytes())
    }

    /// None for other values than strings.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let raw = self.raw(name)?;
        let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
    }

    pub fn value(&self, name: &str) -> Option<Value> {
        serde_json::from_str(self.raw(name)?).ok()
    }
}

struct Name<'a>(Cow<'a, str>);

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
        assert!(object.object("f").is_none() && object.value("n").is_none() && object.value("f").is_some());
        for body in ["", "[]", "{\"a\":\"b\"", "{\"a\":\"b\"} x", "{\"a\":\"\u{0}\"}"] {
            assert!(Object::read(body.as_bytes()).is_none(), "{body:?}");
        }
        assert!(Object::read(b"{\"a\":\"\xff\"}").is_none());
    }
}
