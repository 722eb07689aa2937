//! A digest of a body's content, by which two deliveries of one event are compared. Independent of time and form of a
//! delivery. Knows no type of event.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::canonical;
use super::envelope::Envelope;
use super::object::{Json, Object};
use super::position::Hash;

/// A digest that is equal for bodies of the same type, mode and data, in any order and with any white space. The data
/// of a flat body are all fields except the envelope's. For a body that is no JSON object, every byte counts.
pub fn fingerprint(body: &[u8]) -> Hash {
    of(body, Object::read(body).as_ref())
}

/// Like [`fingerprint`], but for a body that is parsed already. `object` is `None` if the body is no JSON object.
pub(super) fn of(body: &[u8], object: Option<&Object<'_>>) -> Hash {
    let mut hasher = Sha256::new();
    let Some(object) = object else {
        hasher.update(body);
        return hasher.finalize().into();
    };
    let Envelope { kind, api_mode, .. } = Envelope::of(object);
    for text in [kind, api_mode] {
        put(&mut hasher, text.as_deref().unwrap_or_default());
    }
    match object.last("data") {
        Some(data) => put(&mut hasher, &canonical(data)),
        None => put_fields(&mut hasher, object),
    }
    hasher.finalize().into()
}

fn put(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text);
}

/// Adds the data of a flat body.
fn put_fields(hasher: &mut Sha256, object: &Object<'_>) {
    let mut fields: Vec<_> = object.entries().map(|(name, value)| (name, canonical(value))).collect();
    fields.retain(|(name, _)| !["id", "date", "type", "event_type", "api_mode"].contains(name));
    fields.sort();
    for (name, value) in fields {
        put(hasher, name);
        put(hasher, &value);
    }
}

/// The canonical form of a value. One that cannot be read (too deep, a huge number) stays as written.
fn canonical(value: Json<'_>) -> Cow<'_, str> {
    let json = value.as_written();
    canonical::canonical(json).map_or(Cow::Borrowed(json), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_shared_by_deliveries_of_one_event_only() {
        let first = fingerprint(
            br#"{"id":"a","date":"1","api_mode":"live","type":"t","data":{"a":[1,{"b":null}],"c":"\u00e9"}}"#,
        );
        let again =
            r#"{ "type": "t", "data": {"c":"é","a":[1, {"b":null}]}, "date": "2", "api_mode": "live", "id": "a" }"#;
        assert_eq!(fingerprint(again.as_bytes()), first);
        for other in [again.replace("null", "0"), again.replace("\"t\"", "\"u\""), again.replace("live", "test")] {
            assert_ne!(fingerprint(other.as_bytes()), first, "{other}");
        }
    }

    #[test]
    fn fingerprints_of_flat_and_odd_bodies_cover_all_they_hold() {
        let flat = |body: &str| fingerprint(body.as_bytes());
        assert_eq!(flat(r#"{"id":"a","date":"1","b":1,"c":2}"#), flat(r#"{"c":2,"id":"b","b":1}"#));
        assert_ne!(flat(r#"{"b":1,"c":2}"#), flat(r#"{"b":1,"c":3}"#));
        assert_ne!(flat(r#"{"data":{"n":1e999}}"#), flat(r#"{"data":{"n":2e999}}"#), "beyond any number");
        assert_ne!(fingerprint(b"{\xff"), fingerprint(b"{\xfe"));
    }
}
