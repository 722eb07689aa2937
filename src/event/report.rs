//! What one body reports, in our words. Pure data; how it is read is in `payload.rs`, what it does is the fold's.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Timestamp;
use super::text::Text;

/// What one event reports.
pub struct Report {
    /// The connection that the body itself names.
    pub connection_id: Text,
    /// When the delivery was attempted, as the body tells it: it happened before.
    pub date: Option<Timestamp>,
    pub told: Told,
}

impl Report {
    /// Bytes that the lists take in memory beside their texts, about: a list in few bytes of JSON may be long.
    pub(super) fn list_bytes(&self) -> usize {
        const COUNT_BYTES: usize = 64;
        let Told::Export { outcome: Outcome::Ready { links, stats }, .. } = &self.told else { return 0 };
        let counts = stats.as_ref().map_or(0, |stats| stats.total_by_resource_type.len());
        links.len() * 2 * size_of::<Link>() + counts * COUNT_BYTES
    }
}

/// What an event is about.
pub enum Told {
    /// An attempt to connect ended.
    Attempt {
        status: Text,
        facts: Facts,
        attempt: Attempt,
    },
    Revocation {
        status: Text,
        facts: Facts,
    },
    Export {
        task_id: Text,
        org_id: Text,
        outcome: Outcome,
    },
    /// Its type is not known, or it has none.
    Unknown,
}

/// How an export ended.
pub enum Outcome {
    Ready { links: Arc<[Link]>, stats: Option<Arc<Stats>> },
    Failed { reason: Text },
}

impl Outcome {
    /// Fasten could not refresh its token: the patient has to connect anew.
    pub fn token_failed(&self) -> bool {
        matches!(self, Self::Failed { reason: Some(reason) } if &**reason == "token_refresh_failure")
    }
}

/// What is told of one attempt to connect. Replaced as a whole by the next one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    pub request_id: Text,
    /// Identifies the attempt to the integrator.
    pub external_state: Text,
    pub scope: Text,
    pub consent_expires_at: Option<Timestamp>,
}

/// What is told of a connection for good: each survives its absence from later events.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The integrator's own id of the patient.
    pub external_id: Text,
    pub platform_type: Text,
    pub endpoint_id: Text,
    pub brand_id: Text,
    pub portal_id: Text,
    pub tefca_directory_id: Text,
    /// The organisation at Fasten.
    pub org_id: Text,
}

/// Where a part of an export lies, for those with the API's credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    pub url: Arc<str>,
    pub export_type: Text,
    pub content_type: Text,
}

/// What Fasten says is inside an export. The figures need not add up.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Stats {
    pub total_resources: Option<u64>,
    /// By FHIR resource type.
    pub total_by_resource_type: BTreeMap<String, u64>,
}
