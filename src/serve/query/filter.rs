//! Filters over connections and exports: one typed form for lists and watches, checked once. Knows nothing of how rows
//! are found.

mod hash;
mod read;

use std::collections::BTreeSet;

use crate::event::{Position, Timestamp};
use crate::fold::{Connection, Export, ExportQuery, ExportStatus, Status};
use crate::proto;
use crate::serve::refusal::Refusal;
pub use hash::FilterHasher;
pub use read::texts;

/// Kind of request that a filter is used in.
#[derive(Clone, Copy)]
pub enum Use {
    List { now: Timestamp },
    Watch,
}

/// Filter over connections. An empty set allows all, and so does `None`.
#[derive(Default, PartialEq, Eq, Hash)]
pub struct ConnectionFilter {
    pub external_ids: BTreeSet<String>,
    statuses: BTreeSet<Status>,
    platform_types: BTreeSet<String>,
    request_ids: BTreeSet<String>,
    external_states: BTreeSet<String>,
    needs_reconnect: Option<bool>,
    order_ambiguous: Option<bool>,
    consent_expires_before: Option<Timestamp>,
    changed_after: Option<Timestamp>,
    awaiting_export: Option<Ago>,
}

/// A cutoff given as a duration before now.
#[derive(PartialEq, Eq, Hash)]
struct Ago {
    micros: i64,
    time: Timestamp,
}

impl ConnectionFilter {
    pub fn read(filter: Option<proto::ConnectionFilter>, usage: Use) -> Result<Self, Refusal> {
        let filter = filter.unwrap_or_default();
        let awaiting = read::span("filter.awaiting_export_for", filter.awaiting_export_for)?;
        let read = Self {
            external_ids: texts("filter.external_ids", filter.external_ids)?,
            statuses: read::words("filter.statuses", &filter.statuses, read::status)?,
            platform_types: texts("filter.platform_types", filter.platform_types)?,
            request_ids: texts("filter.request_ids", filter.request_ids)?,
            external_states: texts("filter.external_states", filter.external_states)?,
            needs_reconnect: filter.needs_reconnect,
            order_ambiguous: filter.order_ambiguous,
            consent_expires_before: read::time("filter.consent_expires_before", filter.consent_expires_before)?,
            changed_after: read::time("filter.changed_after", filter.changed_after)?,
            awaiting_export: None,
        };
        let refuse = |field| Err(Refusal::InvalidFilter { field, problem: "only a list can ask for it" });
        match usage {
            Use::List { .. } if !filter.event_types.is_empty() => {
                Err(Refusal::InvalidFilter { field: "filter.event_types", problem: "only a watch can ask for it" })
            }
            Use::Watch if awaiting.is_some() => refuse("filter.awaiting_export_for"),
            Use::Watch if read.changed_after.is_some() => refuse("filter.changed_after"),
            Use::Watch => Ok(read),
            Use::List { now } => {
                let ago = |micros: i64| Ago { micros, time: now.plus_micros(-micros) };
                Ok(Self { awaiting_export: awaiting.map(ago), ..read })
            }
        }
    }

    pub fn matches(&self, connection: &Connection) -> bool {
        let any = |wanted: &BTreeSet<String>, value: Option<&str>| {
            wanted.is_empty() || value.is_some_and(|value| wanted.contains(value))
        };
        let is = |wanted: Option<bool>, value| wanted.is_none_or(|wanted| wanted == value);
        let until = |before: Option<Timestamp>, at: Option<Timestamp>| {
            before.is_none_or(|before| at.is_some_and(|at| at < before))
        };
        let Self { awaiting_export, changed_after, .. } = self;
        (self.statuses.is_empty() || self.statuses.contains(&connection.status))
            && any(&self.external_ids, connection.facts.external_id.as_deref())
            && any(&self.platform_types, connection.facts.platform_type.as_deref())
            && any(&self.request_ids, connection.attempt.request_id.as_deref())
            && any(&self.external_states, connection.attempt.external_state.as_deref())
            && is(self.needs_reconnect, connection.needs_reconnect)
            && is(self.order_ambiguous, connection.order_ambiguous)
            && until(self.consent_expires_before, connection.attempt.consent_expires_at)
            && changed_after.is_none_or(|after| connection.lineage.last.recorded_at > after)
            && awaiting_export
                .as_ref()
                .is_none_or(|ago| connection.awaits_export_since().is_some_and(|since| since <= ago.time))
    }

    /// Whether an export matches: when its connection does. Without a connection it matches only if the filter is
    /// empty.
    pub fn matches_joined(&self, connection: Option<&Connection>) -> bool {
        connection.map_or_else(|| *self == Self::default(), |connection| self.matches(connection))
    }

    pub fn hash_into(&self, hasher: &mut FilterHasher) {
        hasher.add_texts(&self.external_ids);
        hasher.add_number(self.statuses.iter().fold(0, |bits, status| bits | 1 << *status as u64));
        for texts in [&self.platform_types, &self.request_ids, &self.external_states] {
            hasher.add_texts(texts);
        }
        hasher.add_flag(self.needs_reconnect);
        hasher.add_flag(self.order_ambiguous);
        hasher.add_time(self.consent_expires_before);
        hasher.add_time(self.changed_after);
        hasher.add_micros(self.awaiting_export.as_ref().map(|ago| ago.micros));
    }
}

/// Filter over exports. An empty set allows all, and so does `None`.
#[derive(Default, PartialEq, Eq, Hash)]
pub struct ExportFilter {
    pub connection_ids: BTreeSet<String>,
    statuses: BTreeSet<ExportStatus>,
    /// Filter on the export's connection.
    pub connection: ConnectionFilter,
    pub changed_after: Option<Timestamp>,
    /// Last position recorded by `changed_after`. 0 unless the caller has looked it up.
    pub after_position: Position,
    deadline_within: Option<Within>,
}

#[derive(PartialEq, Eq, Hash)]
struct Within {
    micros: i64,
    from: Timestamp,
    to: Timestamp,
}

impl ExportFilter {
    pub fn read(filter: Option<proto::ExportFilter>, now: Timestamp) -> Result<Self, Refusal> {
        let filter = filter.unwrap_or_default();
        let external_ids = texts("filter.external_ids", filter.external_ids)?;
        let within = read::span("filter.deadline_within", filter.deadline_within)?;
        Ok(Self {
            connection_ids: texts("filter.org_connection_ids", filter.org_connection_ids)?,
            statuses: read::words("filter.statuses", &filter.statuses, read::export_status)?,
            connection: ConnectionFilter { external_ids, ..ConnectionFilter::default() },
            changed_after: read::time("filter.changed_after", filter.changed_after)?,
            after_position: 0,
            deadline_within: within.map(|micros| Within { micros, from: now, to: now.plus_micros(micros) }),
        })
    }

    /// Returns a filter for all exports of the matching connections.
    pub fn of(connection: ConnectionFilter) -> Self {
        Self { connection, ..Self::default() }
    }

    /// Returns the conditions that need no look at an export's state.
    pub fn query(&self) -> ExportQuery<'_> {
        ExportQuery {
            connection_ids: &self.connection_ids,
            external_ids: &self.connection.external_ids,
            after_position: self.after_position,
            deadlines: self.deadline_within.as_ref().map(|within| within.from..=within.to),
        }
    }

    pub fn matches(&self, export: &Export, connection: Option<&Connection>) -> bool {
        let wanted = |id: &str| self.connection_ids.contains(id);
        let in_time = |within: &Within| {
            export.status == ExportStatus::Ready
                && export.deadline.is_some_and(|deadline| within.from <= deadline && deadline <= within.to)
        };
        (self.statuses.is_empty() || self.statuses.contains(&export.status))
            && (self.connection_ids.is_empty() || export.connection_id.as_deref().is_some_and(wanted))
            && self.deadline_within.as_ref().is_none_or(in_time)
            && self.connection.matches_joined(connection)
    }

    pub fn hash_into(&self, hasher: &mut FilterHasher) {
        hasher.add_texts(&self.connection_ids);
        hasher.add_number(self.statuses.iter().fold(0, |bits, status| bits | 1 << *status as u64));
        hasher.add_time(self.changed_after);
        hasher.add_micros(self.deadline_within.as_ref().map(|within| within.micros));
        self.connection.hash_into(hasher);
    }
}
