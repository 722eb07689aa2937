//! What one body reports, in our words. Pure data; how it is read stands in `payload.rs`, what it does in the entities.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entity::{Mark, Text, absorb};
use super::words::Words;
use crate::event::Timestamp;

pub(super) struct Report {
    /// The connection that the body itself names.
    pub connection_id: Text,
    /// When the delivery was attempted, as the body tells it: it happened before.
    pub date: Option<Timestamp>,
    /// It came otherwise than by a webhook, and so perhaps long after it was told.
    pub second_hand: bool,
    pub told: Told,
}

impl Report {
    /// It had happened by then.
    pub fn happened_by(&self, mark: Mark) -> Timestamp {
        self.date.map_or(mark.recorded_at, |date| date.min(mark.recorded_at))
    }

    /// When a webhook told of it, or would have.
    pub fn heard_at(&self, mark: Mark) -> Timestamp {
        if self.second_hand { self.happened_by(mark) } else { mark.recorded_at }
    }
}

pub(super) enum Told {
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
    /// By a type that we do not know, or by none.
    Unknown,
}

impl Told {
    pub fn share(&mut self, words: &mut Words) {
        match self {
            Self::Attempt { status, facts, attempt } => {
                words.share(status);
                facts.share(words);
                attempt.share(words);
            }
            Self::Revocation { status, facts } => {
                words.share(status);
                facts.share(words);
            }
            Self::Export { org_id, outcome, .. } => {
                words.share(org_id);
                if let Outcome::Failed { reason } = outcome {
                    words.share(reason);
                }
            }
            Self::Unknown => {}
        }
    }
}

pub(super) enum Outcome {
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

impl Attempt {
    pub(super) fn share(&mut self, words: &mut Words) {
        words.share(&mut self.scope);
    }
}

impl Facts {
    /// All but whom they are of.
    pub(super) fn share(&mut self, words: &mut Words) {
        let Self { external_id: _, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id } = self;
        let shared = [platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id];
        for text in shared {
            words.share(text);
        }
    }

    pub(super) fn absorb(&mut self, told: &Facts) {
        absorb(&mut self.external_id, &told.external_id);
        absorb(&mut self.platform_type, &told.platform_type);
        absorb(&mut self.endpoint_id, &told.endpoint_id);
        absorb(&mut self.brand_id, &told.brand_id);
        absorb(&mut self.portal_id, &told.portal_id);
        absorb(&mut self.tefca_directory_id, &told.tefca_directory_id);
        absorb(&mut self.org_id, &told.org_id);
    }
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
