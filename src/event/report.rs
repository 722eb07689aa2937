//! The report of one body, in our terms. Pure data: `payload.rs` reads it, the fold applies it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::text::Text;
use super::time::Timestamp;

/// The report of one event.
pub struct Report {
    /// The connection that the body itself names.
    pub connection_id: Text,
    /// Time of the delivery attempt, according to the body. The event happened before.
    pub date: Option<Timestamp>,
    pub kind: ReportKind,
}

impl Report {
    /// Approximate size of the lists in memory without their texts, in bytes. A list of few bytes of JSON may be long.
    pub(super) fn list_bytes(&self) -> usize {
        const COUNT_BYTES: usize = 64;
        let ReportKind::Export { outcome: Outcome::Ready { links, stats }, .. } = &self.kind else { return 0 };
        let counts = stats.as_ref().map_or(0, |stats| stats.total_by_resource_type.len());
        links.len() * 2 * size_of::<Link>() + counts * COUNT_BYTES
    }
}

/// The content of a report, by type of event.
pub enum ReportKind {
    /// The end of an attempt to connect.
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
    /// An event of unknown type, or without a type.
    Unknown,
}

/// The result of an export.
pub enum Outcome {
    Ready { links: Arc<[Link]>, stats: Option<Arc<Stats>> },
    Failed { reason: Text },
}

impl Outcome {
    /// Whether Fasten could not refresh its token. Then the patient must connect again.
    pub fn token_failed(&self) -> bool {
        matches!(self, Self::Failed { reason: Some(reason) } if &**reason == "token_refresh_failure")
    }
}

/// Details of one attempt to connect. The next attempt replaces all of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    pub request_id: Text,
    /// Identifies the attempt to the integrator.
    pub external_state: Text,
    pub scope: Text,
    pub consent_expires_at: Option<Timestamp>,
}

/// Lasting facts about a connection: each survives its absence from later events.
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

/// Location of a part of an export, for clients with the API's credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    pub url: Arc<str>,
    pub export_type: Text,
    pub content_type: Text,
}

/// The contents of an export, according to Fasten. The figures need not add up.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Stats {
    pub total_resources: Option<u64>,
    /// Counts by FHIR resource type.
    pub total_by_resource_type: BTreeMap<String, u64>,
}
