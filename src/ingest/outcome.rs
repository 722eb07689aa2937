//! The outcomes of a request at the door, and their answers. All codes and all labels are here.
//!
//! Never 3xx, 410, 415 or 422: senders do not follow, or take them for a wish to receive no more. Never 4xx for our own
//! trouble. A 401 does not show whether signature or timestamp was wrong.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::{Serialize, Serializer};

use crate::event::{ModeVerdict, Position};
use crate::http::{Reply, problem};
use crate::log::AppendOutcome;

/// `Retry-After` in seconds. Fasten's own schedule is slower; this is for other senders.
const RETRY_AFTER_OUR_TROUBLE: HeaderValue = HeaderValue::from_static("5");

/// The answer about a durable event.
#[derive(Debug, Serialize)]
pub(super) struct Accepted {
    pub(super) position: Position,
    #[serde(rename = "duplicate", serialize_with = "serialize_duplicate")]
    pub(super) outcome: AppendOutcome,
    pub(super) token: String,
    #[serde(skip)]
    pub(super) mode: ModeVerdict,
}

/// Reason for a refusal. The event is not in the log, except that for `StorageSlow` and `StorageFailed` it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WebhookRefusal {
    UnknownEndpoint,
    MethodNotAllowed,
    /// The header and its fault.
    Header(&'static str, HeaderFault),
    BodyTooLarge,
    BodySlow,
    BodyBroken,
    SignatureMismatch,
    /// Correctly signed. Either a replay, or the clock of one side is wrong.
    StaleTimestamp,
    /// Only the published secret matches, and the request is not from one of this machine's own tools.
    DevelopmentSecretRefused,
    Overloaded,
    StorageSlow,
    /// Lost keys are being read again from the log: whether the event came before is not known.
    KeysUnknown,
    StorageFailed,
    /// The clock may not stamp the event.
    ClockRefused,
    /// The disk has less free space than required.
    DiskFull,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Missing,
    Repeated,
    Oversized,
    Malformed,
}

/// The answer about a refusal: `reason` is for programs, `detail` for a person.
struct Terms {
    status: StatusCode,
    reason: &'static str,
    detail: &'static str,
}

/// The client left before its answer. If its request was complete, the event may be in the log.
pub(super) const ABANDONED: &str = "abandoned";

const ALL_REFUSALS: [WebhookRefusal; 18] = [
    WebhookRefusal::UnknownEndpoint,
    WebhookRefusal::MethodNotAllowed,
    WebhookRefusal::Header("webhook-id", HeaderFault::Missing),
    WebhookRefusal::Header("webhook-id", HeaderFault::Repeated),
    WebhookRefusal::Header("webhook-id", HeaderFault::Oversized),
    WebhookRefusal::Header("webhook-id", HeaderFault::Malformed),
    WebhookRefusal::BodyTooLarge,
    WebhookRefusal::BodySlow,
    WebhookRefusal::BodyBroken,
    WebhookRefusal::SignatureMismatch,
    WebhookRefusal::StaleTimestamp,
    WebhookRefusal::DevelopmentSecretRefused,
    WebhookRefusal::Overloaded,
    WebhookRefusal::StorageSlow,
    WebhookRefusal::KeysUnknown,
    WebhookRefusal::StorageFailed,
    WebhookRefusal::ClockRefused,
    WebhookRefusal::DiskFull,
];

/// All labels of a known endpoint. They start at zero, so that the first of each shows as a rise.
pub(super) fn labels() -> impl Iterator<Item = &'static str> {
    let refused = ALL_REFUSALS.into_iter().filter(|refusal| *refusal != WebhookRefusal::UnknownEndpoint);
    ["accepted", "accepted_mode_mismatch", "accepted_mode_unknown", "duplicate", "duplicate_conflict", ABANDONED]
        .into_iter()
        .chain(refused.map(WebhookRefusal::label))
}

impl Accepted {
    pub(super) fn label(&self) -> &'static str {
        match (self.outcome, self.mode) {
            (AppendOutcome::Conflict, _) => "duplicate_conflict",
            (AppendOutcome::Duplicate, _) => "duplicate",
            (AppendOutcome::New, ModeVerdict::Mismatched) => "accepted_mode_mismatch",
            (AppendOutcome::New, ModeVerdict::Unknown) => "accepted_mode_unknown",
            (AppendOutcome::New, ModeVerdict::Live | ModeVerdict::Test) => "accepted",
        }
    }

    pub(super) fn reply(&self) -> Reply {
        // A number, a boolean and a string can always be encoded as JSON.
        let body = serde_json::to_vec(self).unwrap_or_default();
        let mut reply = Response::new(Full::new(Bytes::from(body)));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        reply
    }
}

/// Writes whether the log had the event's key already.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn serialize_duplicate<S: Serializer>(outcome: &AppendOutcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(*outcome != AppendOutcome::New)
}

impl WebhookRefusal {
    /// The label in metrics and logs.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::UnknownEndpoint => "unknown_endpoint",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Header(_, HeaderFault::Missing) => "header_missing",
            Self::Header(_, HeaderFault::Repeated) => "header_repeated",
            Self::Header(_, HeaderFault::Oversized) => "header_oversized",
            Self::Header(_, HeaderFault::Malformed) => "header_malformed",
            Self::BodyTooLarge => "body_too_large",
            Self::BodySlow => "body_slow",
            Self::BodyBroken => "body_broken",
            Self::SignatureMismatch => "signature_mismatch",
            Self::StaleTimestamp => "stale_timestamp",
            Self::DevelopmentSecretRefused => "development_secret_refused",
            Self::Overloaded => "overloaded",
            Self::StorageSlow => "storage_slow",
            Self::KeysUnknown => "keys_unknown",
            Self::StorageFailed => "storage_failed",
            Self::ClockRefused => "clock_refused",
            Self::DiskFull => "disk_full",
        }
    }

    pub(super) fn reply(self) -> Reply {
        let Terms { status, reason, detail } = self.terms();
        let mut reply = match self {
            Self::Header(name, _) => problem(status, reason, &format!("{name}: {detail}")),
            _ => problem(status, reason, detail),
        };
        if self == Self::MethodNotAllowed {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_OUR_TROUBLE);
        }
        reply
    }

    fn terms(self) -> Terms {
        use StatusCode as S;
        let (status, reason, detail) = match self {
            Self::UnknownEndpoint => (S::NOT_FOUND, "ENDPOINT_NOT_FOUND", "no such endpoint"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "webhooks are posted"),
            Self::Header(_, fault) => return fault.terms(),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "the body is over the limit"),
            Self::BodySlow => (S::REQUEST_TIMEOUT, "BODY_SLOW", "the body did not arrive in time"),
            Self::BodyBroken => (S::BAD_REQUEST, "BODY_BROKEN", "the body did not arrive whole"),
            Self::SignatureMismatch | Self::StaleTimestamp | Self::DevelopmentSecretRefused => {
                (S::UNAUTHORIZED, "UNAUTHENTICATED", "no signature matches, or the timestamp is too far from now")
            }
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "OVERLOADED", "too many requests are in flight"),
            Self::StorageSlow => (S::SERVICE_UNAVAILABLE, "STORAGE_SLOW", "the event is not durable yet"),
            Self::KeysUnknown => (
                S::SERVICE_UNAVAILABLE,
                "KEYS_UNKNOWN",
                "lost keys of the log are being read again: whether the event came before is not known yet",
            ),
            Self::StorageFailed => (S::SERVICE_UNAVAILABLE, "STORAGE_READ_ONLY", "events cannot be stored"),
            Self::DiskFull => (S::SERVICE_UNAVAILABLE, "DISK_FULL", "the server's disk is nearly full"),
            Self::ClockRefused => (
                S::SERVICE_UNAVAILABLE,
                "CLOCK_REFUSED",
                "the server's clock is wrong, or nothing confirms it; its log says more",
            ),
        };
        Terms { status, reason, detail }
    }
}

impl HeaderFault {
    fn terms(self) -> Terms {
        let (reason, detail) = match self {
            Self::Missing => ("HEADER_MISSING", "missing or empty"),
            Self::Repeated => ("HEADER_REPEATED", "came more than once"),
            Self::Oversized => ("HEADER_OVERSIZED", "too long, or of too many parts"),
            Self::Malformed => ("HEADER_MALFORMED", "of characters that it may not have"),
        };
        Terms { status: StatusCode::BAD_REQUEST, reason, detail }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_refusal_is_answered_with_a_code_that_senders_misread() {
        for refusal in ALL_REFUSALS {
            let status = refusal.terms().status.as_u16();
            assert!([400, 401, 404, 405, 408, 413, 503].contains(&status), "{refusal:?}");
            let reply = refusal.reply();
            assert_eq!(reply.headers().contains_key(RETRY_AFTER), status == 503, "{refusal:?}");
            assert_eq!(reply.headers().contains_key(ALLOW), status == 405, "{refusal:?}");
        }
    }

    #[test]
    fn every_end_has_its_own_label() {
        let labels: Vec<_> = labels().collect();
        assert_eq!(labels.iter().collect::<HashSet<_>>().len(), labels.len());
    }
}
