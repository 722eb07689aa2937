//! One connection, and how what is reported of it changes it. The rules: docs/architecture.md, "Connection state".

use std::fmt;
use std::sync::Arc;

use super::entity::{Mark, Realm, Text, Trail, absorb};
use super::report::{Attempt, Facts, Told};
use super::words::Words;
use crate::event::Timestamp;

/// Whether Fasten may fetch the patient's records. The numbers are stored, and part of tokens; never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// No event has told it: the connection is known from exports, or from events that we do not know.
    Unknown = 1,
    Authorized = 2,
    Rejected = 3,
    Revoked = 4,
    /// A word that we do not know; it stands in `reported_status`.
    Unrecognized = 5,
}

impl Status {
    fn of(reported: &str) -> Self {
        match reported {
            "authorized" => Self::Authorized,
            "rejected" => Self::Rejected,
            "revoked" => Self::Revoked,
            _ => Self::Unrecognized,
        }
    }

    pub(super) fn from_stored(byte: u8) -> Option<Self> {
        [Self::Unknown, Self::Authorized, Self::Rejected, Self::Revoked, Self::Unrecognized]
            .into_iter()
            .find(|status| *status as u8 == byte)
    }
}

/// One patient's link to one health system.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    pub realm: Realm,
    /// Fasten's id; opaque.
    pub id: Arc<str>,
    pub status: Status,
    /// As it was written.
    pub reported_status: Text,
    /// Of the event that brought the current status; later ones that repeat it do not count.
    pub status_recorded_at: Option<Timestamp>,
    pub facts: Facts,
    pub attempt: Attempt,
    /// From revoked back to authorized.
    pub reconnect_count: u32,
    pub last_reconnected_at: Option<Timestamp>,
    /// An export failed for want of a token since the last authorisation.
    pub needs_reconnect: bool,
    pub trail: Trail,
}

impl Connection {
    /// As the event at `mark`, which names it, leaves it.
    pub(super) fn after(previous: Option<&Self>, realm: &Realm, id: &Arc<str>, mark: Mark, told: &Told) -> Self {
        let trail = Trail::extend(previous.map(|connection| &connection.trail), mark);
        let mut connection = match previous {
            Some(connection) => Self { trail, ..connection.clone() },
            None => Self::unheard_of(realm, id, trail),
        };
        match told {
            Told::Attempt { status, facts, attempt } => connection.attempted(status, facts, attempt),
            Told::Revocation { status, facts } => connection.revoked(status, facts),
            Told::Export { org_id, outcome, .. } => connection.exported(org_id, outcome.token_failed()),
            Told::Unknown => {}
        }
        connection
    }

    pub(super) fn unheard_of(realm: &Realm, id: &Arc<str>, trail: Trail) -> Self {
        Self {
            realm: realm.clone(),
            id: id.clone(),
            status: Status::Unknown,
            reported_status: None,
            status_recorded_at: None,
            facts: Facts::default(),
            attempt: Attempt::default(),
            reconnect_count: 0,
            last_reconnected_at: None,
            needs_reconnect: false,
            trail,
        }
    }

    /// Without a status, an attempt tells nothing of the authorisation.
    fn attempted(&mut self, reported: &Text, facts: &Facts, attempt: &Attempt) {
        self.facts.absorb(facts);
        self.attempt = attempt.clone();
        if let Some(word) = reported {
            self.set_status(Status::of(word), reported);
        }
    }

    /// The type of the event says it, whatever status its body bears.
    fn revoked(&mut self, reported: &Text, facts: &Facts) {
        self.facts.absorb(facts);
        self.set_status(Status::Revoked, reported);
    }

    /// An export never changes the authorisation.
    fn exported(&mut self, org_id: &Text, token_failed: bool) {
        absorb(&mut self.facts.org_id, org_id);
        self.needs_reconnect |= token_failed;
    }

    fn set_status(&mut self, status: Status, reported: &Text) {
        let now = self.trail.last.recorded_at;
        if (self.status, status) == (Status::Revoked, Status::Authorized) {
            self.reconnect_count = self.reconnect_count.saturating_add(1);
            self.last_reconnected_at = Some(now);
        }
        let another_word = status == Status::Unrecognized && self.reported_status != *reported;
        if self.status != status || another_word {
            self.status_recorded_at = Some(now);
        }
        self.needs_reconnect &= status != Status::Authorized;
        self.status = status;
        self.reported_status.clone_from(reported);
    }

    /// Texts that others have too, once in memory.
    pub(super) fn share(&mut self, words: &mut Words) {
        words.share(&mut self.reported_status);
        self.facts.share(words);
        self.attempt.share(words);
    }

    /// Bytes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let Facts { external_id, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id } =
            &self.facts;
        let Attempt { request_id, external_state, scope, .. } = &self.attempt;
        let facts = [external_id, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id];
        let attempt = [request_id, external_state, scope, &self.reported_status];
        let texts = facts.into_iter().chain(attempt).flatten().map(|text| text.len());
        size_of::<Self>() + self.id.len() + texts.sum::<usize>()
    }

    /// Whether a filter that matches one of the two might not match the other.
    pub(super) fn looks_different(&self, other: &Connection) -> bool {
        let looks = |connection: &Connection| {
            (connection.status, connection.facts.external_id.clone(), connection.facts.platform_type.clone())
        };
        looks(self) != looks(other)
    }
}

// What it holds of the patient stays out of logs, panics and test output.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("realm", &self.realm)
            .field("id", &self.id)
            .field("status", &self.status)
            .field("trail", &self.trail)
            .finish_non_exhaustive()
    }
}
