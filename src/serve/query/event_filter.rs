//! Filter over the events of a tenant: one typed form for reads and watches, checked once. Also converts each match to
//! the form that its caller may see. Knows nothing of how events are read.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::filter::FilterHasher;
use crate::event::{BodySummary, Contents, Event, Kind};
use crate::log::EventHeader;
use crate::proto;
use crate::serve::principal::Principal;
use crate::serve::refusal::Refusal;
use crate::serve::wire;

const TYPES_MAX: usize = 20;

#[derive(PartialEq, Eq, Hash)]
pub struct EventFilter {
    principal: Principal,
    tenant: Arc<str>,
    /// Empty allows any.
    types: BTreeSet<String>,
    /// Kinds of `types`.
    kinds: BTreeSet<Kind>,
    unreadable: bool,
    mismatched: bool,
    conflicting: bool,
}

impl EventFilter {
    pub fn read(principal: Principal, tenant: &str, filter: Option<proto::EventFilter>) -> Result<Self, Refusal> {
        let tenant = principal.tenant(tenant)?;
        let proto::EventFilter { types, unreadable, mismatched, conflicting } = filter.unwrap_or_default();
        if types.len() > TYPES_MAX {
            return Err(Refusal::InvalidFilter { field: "filter.types", problem: "more than 20 values" });
        }
        let kinds = types.iter().map(|word| Kind::of_word(Some(word))).collect();
        Ok(Self { principal, tenant, types: types.into_iter().collect(), kinds, unreadable, mismatched, conflicting })
    }

    pub fn hash(&self) -> u64 {
        let mut hasher = FilterHasher::of_tenant("watch events", &self.tenant);
        hasher.add_texts(&self.types);
        for flag in [self.unreadable, self.mismatched, self.conflicting] {
            hasher.add_number(u64::from(flag));
        }
        hasher.finish()
    }

    /// Whether an event may match, judged by its header, without unpacking it.
    pub fn may_match(&self, header: &EventHeader<'_>) -> bool {
        header.tenant == &*self.tenant
            && (self.kinds.is_empty() || self.kinds.contains(&header.kind))
            && (header.is_unreadable || header.contents != Contents::Whole || !self.unreadable)
            && (header.mode.applies_to().is_none() || !self.mismatched)
            && (header.is_conflict || !self.conflicting)
    }

    /// Returns the event as its caller may see it. `None` if it does not match.
    pub fn matching(&self, event: Event) -> Option<proto::Event> {
        if event.delivery.tenant != *self.tenant {
            return None;
        }
        let summary = BodySummary::read(&event.delivery.body);
        self.matches(&event, &summary).then(|| wire::event(event, summary, &self.principal))
    }

    fn matches(&self, event: &Event, summary: &BodySummary) -> bool {
        (self.types.is_empty() || self.types.contains(&summary.kind))
            && (summary.is_unreadable || !self.unreadable)
            && (event.delivery.mode.applies_to().is_none() || !self.mismatched)
            && (event.conflict_of.is_some() || !self.conflicting)
    }
}
