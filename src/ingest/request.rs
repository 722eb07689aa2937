//! Reads the parts of a request that precede its body: the endpoint in its path, and the three Standard Webhooks
//! headers.
//!
//! Strict, since all of this comes from strangers: each header comes once, is bounded, and has only allowed characters.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::http::request;
use hyper::{HeaderMap, Uri};

use super::local_tool::is_local_tool;
use super::outcome::{HeaderFault, WebhookRefusal};

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

const ID_BYTES_MAX: usize = 256;
/// Number of digits of the largest i64.
const TIMESTAMP_BYTES_MAX: usize = 19;
/// Room for 16 signatures of any version known today.
const SIGNATURE_BYTES_MAX: usize = 2048;
/// Maximum number of signatures. With at most 16 secrets, this bounds the comparisons.
const SIGNATURES_MAX: usize = 16;

/// The headers of one webhook, well-formed and not yet verified.
pub(super) struct SignedHeaders {
    pub(super) id: String,
    /// The unchanged text: the signature covers it.
    pub(super) timestamp: String,
    /// The timestamp in seconds since the Unix epoch.
    pub(super) seconds: i64,
    pub(super) signature: String,
    /// The signatures of version 1 that can be decoded.
    pub(super) signatures: Vec<[u8; 32]>,
    /// Whether the development secret may count.
    pub(super) from_local_tool: bool,
}

/// The endpoint that a path names: everything after `/webhooks/`.
pub(super) fn endpoint(uri: &Uri) -> Option<&str> {
    uri.path().strip_prefix("/webhooks/")
}

impl SignedHeaders {
    pub(super) fn read(parts: &request::Parts, peer: SocketAddr) -> Result<Self, WebhookRefusal> {
        let headers = &parts.headers;
        let id = only(headers, ID, ID_BYTES_MAX)?;
        // With dots in the id, `id.timestamp.body` could be split in another place.
        demand(ID, id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.'))?;
        let timestamp = only(headers, TIMESTAMP, TIMESTAMP_BYTES_MAX)?;
        demand(TIMESTAMP, timestamp.bytes().all(|byte| byte.is_ascii_digit()))?;
        let seconds = timestamp.parse().map_err(|_| WebhookRefusal::Header(TIMESTAMP, HeaderFault::Malformed))?;
        let signature = only(headers, SIGNATURE, SIGNATURE_BYTES_MAX)?;
        let entries = || signature.split(' ').filter(|entry| !entry.is_empty());
        if entries().nth(SIGNATURES_MAX).is_some() {
            return Err(WebhookRefusal::Header(SIGNATURE, HeaderFault::Oversized));
        }
        Ok(Self {
            id: id.to_owned(),
            timestamp: timestamp.to_owned(),
            seconds,
            signature: signature.to_owned(),
            signatures: entries().filter_map(version_1).collect(),
            from_local_tool: is_local_tool(id, parts, peer),
        })
    }
}

/// The value of a header that comes once, is not empty, not too long, and is text.
fn only<'a>(headers: &'a HeaderMap, name: &'static str, bytes_max: usize) -> Result<&'a str, WebhookRefusal> {
    let mut values = headers.get_all(name).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => value,
        (Some(_), Some(_)) => return Err(WebhookRefusal::Header(name, HeaderFault::Repeated)),
        _ => return Err(WebhookRefusal::Header(name, HeaderFault::Missing)),
    };
    if value.len() > bytes_max {
        return Err(WebhookRefusal::Header(name, HeaderFault::Oversized));
    }
    value.to_str().map_err(|_| WebhookRefusal::Header(name, HeaderFault::Malformed))
}

fn demand(name: &'static str, well_formed: bool) -> Result<(), WebhookRefusal> {
    if well_formed { Ok(()) } else { Err(WebhookRefusal::Header(name, HeaderFault::Malformed)) }
}

/// Decodes a signature of version 1. `None` if it is of another version or cannot be decoded: a sender may use versions
/// that we do not know yet.
fn version_1(entry: &str) -> Option<[u8; 32]> {
    let (version, encoded) = entry.split_once(',')?;
    if version != "v1" {
        return None;
    }
    // The decoder requires room for its own estimate, which is a byte more than the 32 of a signature.
    let mut decoded = [0; 33];
    let bytes = STANDARD.decode_slice(encoded, &mut decoded).ok()?;
    decoded[..bytes].try_into().ok()
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<SignedHeaders, WebhookRefusal> {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut parts = hyper::Request::new(()).into_parts().0;
        for (name, value) in pairs.iter().map(pair) {
            parts.headers.append(name, value);
        }
        SignedHeaders::read(&parts, "127.0.0.1:50000".parse().unwrap())
    }

    fn fault(id: &str, timestamp: &str, signature: &str) -> Option<(&'static str, HeaderFault)> {
        match read(&[(ID, id), (TIMESTAMP, timestamp), (SIGNATURE, signature)]) {
            Err(WebhookRefusal::Header(name, fault)) => Some((name, fault)),
            Err(other) => panic!("{other:?}"),
            Ok(_) => None,
        }
    }

    #[test]
    fn an_id_is_visible_ascii_without_dots() {
        assert_eq!(fault("msg_1", "1", "v1,x"), None);
        for id in ["a.b", "a b", "\u{e9}"] {
            assert_eq!(fault(id, "1", "v1,x"), Some((ID, HeaderFault::Malformed)), "{id}");
        }
        assert_eq!(fault(&"a".repeat(256), "1", "v1,x"), None);
        assert_eq!(fault(&"a".repeat(257), "1", "v1,x"), Some((ID, HeaderFault::Oversized)));
        assert_eq!(fault("", "1", "v1,x"), Some((ID, HeaderFault::Missing)));
    }

    #[test]
    fn a_timestamp_is_ascii_digits_and_kept_as_it_came() {
        let headers = read(&[(ID, "a"), (TIMESTAMP, "0017"), (SIGNATURE, "v1,x")]).unwrap();
        assert_eq!((headers.timestamp.as_str(), headers.seconds), ("0017", 17));
        for timestamp in ["+17", "-17", "17.0", "1e9", "\u{661}", "9999999999999999999"] {
            assert_eq!(fault("a", timestamp, "v1,x"), Some((TIMESTAMP, HeaderFault::Malformed)), "{timestamp}");
        }
        assert_eq!(fault("a", &"1".repeat(20), "v1,x"), Some((TIMESTAMP, HeaderFault::Oversized)));
    }

    #[test]
    fn unknown_versions_and_undecodable_signatures_are_passed_over() {
        let good = STANDARD.encode([7; 32]);
        let short = STANDARD.encode([7; 31]);
        let value = format!("v2,{good} v1a,{good} v1,@@ v1 v1,{short}  v1,{good} {good}");
        let headers = read(&[(ID, "a"), (TIMESTAMP, "1"), (SIGNATURE, &value)]).unwrap();
        assert_eq!(headers.signatures, [[7; 32]]);
        assert_eq!(headers.signature, value);
    }

    #[test]
    fn at_most_sixteen_signatures_are_taken() {
        assert_eq!(fault("a", "1", &"v1,x ".repeat(16)), None);
        assert_eq!(fault("a", "1", &"v1,x ".repeat(17)), Some((SIGNATURE, HeaderFault::Oversized)));
        assert_eq!(fault("a", "1", &"x".repeat(2049)), Some((SIGNATURE, HeaderFault::Oversized)));
    }

    #[test]
    fn an_endpoint_is_all_that_follows_webhooks_in_the_path() {
        let named = |uri: &'static str| endpoint(&Uri::from_static(uri)).map(str::to_owned);
        assert_eq!(named("/webhooks/fasten?x=1"), Some("fasten".into()));
        assert_eq!(named("/webhooks/fasten/"), Some("fasten/".into()));
        assert_eq!(named("/webhook/fasten"), None);
    }
}
