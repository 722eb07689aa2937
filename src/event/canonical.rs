//! Canonical JSON: names in order, the last value of a repeated name, no space. Borrows from its input. Knows no field
//! by name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::object::Name;

/// The canonical form of a JSON text. `None` if it cannot be read: too deep, or with a huge number.
pub(super) fn canonical(json: &str) -> Option<String> {
    let value: CanonicalValue<'_> = serde_json::from_str(json).ok()?;
    let mut text = Vec::with_capacity(json.len());
    serde_json::to_writer(&mut text, &value).ok()?;
    String::from_utf8(text).ok()
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum CanonicalValue<'a> {
    Null,
    Truth(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Fields(BTreeMap<Name<'a>, Self>),
}

impl<'de> Deserialize<'de> for CanonicalValue<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = CanonicalValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(CanonicalValue::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(CanonicalValue::Truth(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(CanonicalValue::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(CanonicalValue::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(number).map_or(CanonicalValue::Null, CanonicalValue::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(CanonicalValue::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(CanonicalValue::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(CanonicalValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry()? {
            fields.insert(name, value);
        }
        Ok(CanonicalValue::Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The form from which the fingerprints in logs are made. It must never change.
    fn expected(json: &str) -> Option<String> {
        serde_json::from_str::<serde_json::Value>(json).ok().map(|value| value.to_string())
    }

    #[test]
    fn odd_values_keep_the_form_that_is_in_logs() {
        let deep = format!("{}1{}", "[".repeat(127), "]".repeat(127));
        let too_deep = format!("[{deep}]");
        for json in [
            r#"{"b":1,"a":{"d":[],"c":{}},"b":2}"#,
            r" [ null , true, -0, 0.10, 1e3, 18446744073709551616, -9223372036854775809, 1e999 ]",
            "[-0, 0.10, 1e3, 1E-7, 18446744073709551616, -9223372036854775809, 18446744073709551615]",
            r#"{"a\u0062":"\u00e9\n\/\ud83d\ude00\u0001","é":"\u2028","\"":""}"#,
            r#""\ud800""#,
            "1 2",
            &deep,
            &too_deep,
        ] {
            assert_eq!(canonical(json), expected(json), "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_the_form_that_is_in_logs(json in r#"([\[\]{},:" ]|"[a-cé\\]{0,2}"|true|null|-?[0-9]{1,3}(\.[0-9])?(e[0-9])?){0,30}"#) {
            prop_assert_eq!(canonical(&json), expected(&json));
        }

        #[test]
        fn any_value_has_the_form_that_is_in_logs(json in value(), pretty: bool) {
            let json = if pretty { format!("{json:#}") } else { json.to_string() };
            prop_assert_eq!(canonical(&json), expected(&json));
        }
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }
}
