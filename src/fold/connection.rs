//! One connection, and how what is reported of it changes it. The rules: docs/architecture.md, "Connection state".

use std::fmt;
use std::sync::Arc;

use super::entity::{Place, Realm, Trail, absorb_facts};
use super::occurrence::Occurrence;
use super::words::Words;
use crate::event::{Attempt, Facts, Text, Timestamp, Told};

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

/// Fasten tells when it attempted a delivery, not when the event happened: that is so long before at most, as it retries no longer.
const RETRIED_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// One patient's link to one health system.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own: any of them may hold with any other")]
pub struct Connection {
    pub realm: Realm,
    /// Fasten's id; opaque.
    pub id: Arc<str>,
    pub status: Status,
    /// As it was written.
    pub reported_status: Text,
    /// Of the event that brought the current status; later ones that repeat it do not count.
    pub status_recorded_at: Option<Timestamp>,
    /// The latest that what told a status can have happened; a day before it, the earliest.
    pub(super) status_date: Option<Timestamp>,
    /// Events that contradict each other may have happened in another order than they arrived in, the current status's among them.
    pub order_ambiguous: bool,
    /// The last event that named it had happened before what told its status, and so was history already.
    pub last_was_late: bool,
    pub facts: Arc<Facts>,
    pub attempt: Arc<Attempt>,
    /// The event that changed last what [`Self::describe_as`] copies: its change record has it, the later ones refer to that.
    pub(super) described_at: Place,
    /// Since it was last authorized, or ever.
    pub(super) was_revoked: bool,
    /// From revoked back to authorized, whatever was in between.
    pub reconnect_count: u32,
    pub last_reconnected_at: Option<Timestamp>,
    /// Of the last event that named it and told how an export ended.
    pub last_export_at: Option<Timestamp>,
    /// An export failed for want of a token since the last authorisation.
    pub needs_reconnect: bool,
    pub trail: Trail,
}

impl Connection {
    /// As an event that names it leaves it.
    pub(super) fn after(previous: Option<&Self>, realm: &Realm, id: &Arc<str>, event: Occurrence<'_>) -> Self {
        let trail = Trail::extend(previous.map(|connection| &connection.trail), event.mark);
        let mut connection = match previous {
            Some(connection) => Self { trail, ..connection.clone() },
            None => Self::unheard_of(realm, id, trail),
        };
        let date = event.happened_by();
        connection.last_was_late = false;
        match &event.report.told {
            Told::Attempt { facts, .. } | Told::Revocation { facts, .. } if connection.is_history(date) => {
                connection.learned_late(facts);
            }
            Told::Attempt { status, facts, attempt } => connection.attempted(status, facts, attempt, date),
            Told::Revocation { status, facts } => connection.revoked(status, facts, date),
            Told::Export { org_id, outcome, .. } => {
                connection.exported(org_id, outcome.token_failed() && connection.was_so_at(event.heard_at()));
            }
            Told::Unknown => {}
        }
        if previous.is_some_and(|previous| !previous.is_described_as(&connection)) {
            connection.described_at = Place(event.mark.position);
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
            status_date: None,
            order_ambiguous: false,
            last_was_late: false,
            facts: Arc::default(),
            attempt: Arc::default(),
            described_at: Place(trail.first.position),
            was_revoked: false,
            reconnect_count: 0,
            last_reconnected_at: None,
            last_export_at: None,
            needs_reconnect: false,
            trail,
        }
    }

    /// Whether its status had been told by then.
    pub(super) fn was_so_at(&self, time: Timestamp) -> bool {
        self.status_date.is_none_or(|told| told <= time)
    }

    /// Whether what happened by then had happened before what told the current status.
    fn is_history(&self, date: Timestamp) -> bool {
        self.status_date.is_some_and(|current| date < current.plus_micros(-RETRIED_MICROS))
    }

    /// Of history, only facts that were never told are news.
    fn learned_late(&mut self, facts: &Facts) {
        self.last_was_late = true;
        let mut combined = facts.clone();
        absorb_facts(&mut combined, &self.facts);
        self.learn(&combined);
    }

    /// Without a status, an attempt tells nothing of the authorisation.
    fn attempted(&mut self, reported: &Text, facts: &Facts, attempt: &Attempt, date: Timestamp) {
        self.learn(facts);
        self.attempt = Arc::new(attempt.clone());
        if let Some(word) = reported {
            self.set_status(Status::of(word), reported, date);
        }
    }

    /// The type of the event says it, whatever status its body bears.
    fn revoked(&mut self, reported: &Text, facts: &Facts, date: Timestamp) {
        self.learn(facts);
        self.set_status(Status::Revoked, reported, date);
    }

    /// An export never changes the authorisation.
    fn exported(&mut self, org_id: &Text, token_failed: bool) {
        if org_id.is_some() && *org_id != self.facts.org_id {
            self.learn(&Facts { org_id: org_id.clone(), ..Facts::default() });
        }
        self.last_export_at = Some(self.trail.last.recorded_at);
        self.needs_reconnect |= token_failed;
    }

    /// Adds facts to those that are known. What stays equal keeps its place in memory: most events repeat what is known.
    fn learn(&mut self, facts: &Facts) {
        let mut known = (*self.facts).clone();
        absorb_facts(&mut known, facts);
        if known != *self.facts {
            self.facts = Arc::new(known);
        }
    }

    /// Whether what [`Self::describe_as`] copies is the same. Compares most of it by place in memory.
    fn is_described_as(&self, other: &Self) -> bool {
        fn described(it: &Connection) -> impl PartialEq + '_ {
            let Connection {
                realm,
                id,
                status,
                reported_status,
                status_recorded_at,
                status_date,
                order_ambiguous,
                last_was_late: _,
                facts,
                attempt,
                described_at: _,
                was_revoked,
                reconnect_count,
                last_reconnected_at,
                last_export_at: _,
                needs_reconnect: _,
                trail,
            } = it;
            let of_status = (status, reported_status, status_recorded_at, status_date, order_ambiguous, was_revoked);
            (of_status, reconnect_count, last_reconnected_at, facts, attempt, trail.first, id, realm)
        }
        described(self) == described(other)
    }

    /// Copies all of another state of the same connection that an event of an export leaves as it is.
    pub(super) fn describe_as(&mut self, other: &Self) {
        let Self { last_was_late, described_at, last_export_at, needs_reconnect, trail, .. } = *self;
        let trail = Trail { first: other.trail.first, ..trail };
        *self = Self { last_was_late, described_at, last_export_at, needs_reconnect, trail, ..other.clone() };
    }

    fn set_status(&mut self, status: Status, reported: &Text, date: Timestamp) {
        let now = self.trail.last.recorded_at;
        if self.was_revoked && status == Status::Authorized {
            self.reconnect_count = self.reconnect_count.saturating_add(1);
            self.last_reconnected_at = Some(now);
        }
        let another_word = status == Status::Unrecognized && self.reported_status != *reported;
        let another = self.status != status || another_word;
        if another {
            self.status_recorded_at = Some(now);
        }
        self.place(date, another);
        self.needs_reconnect &= status != Status::Authorized;
        self.was_revoked = status == Status::Revoked || self.was_revoked && status != Status::Authorized;
        self.status = status;
        self.reported_status.clone_from(reported);
    }

    /// A status that was told by then: after all that was told before, or perhaps not.
    fn place(&mut self, date: Timestamp, another: bool) {
        let Some(current) = self.status_date else {
            self.status_date = Some(date);
            return;
        };
        let certainly_after = date.plus_micros(-RETRIED_MICROS) > current;
        self.order_ambiguous = !certainly_after && (self.order_ambiguous || another);
        self.status_date = Some(current.max(date));
    }

    /// Texts that others have too, once in memory.
    pub(super) fn share(&mut self, words: &mut Words) {
        words.share(&mut self.reported_status);
        words.share_facts(Arc::make_mut(&mut self.facts));
        words.share_attempt(Arc::make_mut(&mut self.attempt));
    }

    /// Bytes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let Facts { external_id, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id } =
            &*self.facts;
        let Attempt { request_id, external_state, scope, .. } = &*self.attempt;
        let facts = [external_id, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id];
        let attempt = [request_id, external_state, scope, &self.reported_status];
        let texts = facts.into_iter().chain(attempt).flatten().map(|text| text.len());
        size_of::<Self>() + size_of::<Facts>() + size_of::<Attempt>() + self.id.len() + texts.sum::<usize>()
    }

    /// When it was authorized, if no export has ended since.
    pub fn awaits_export_since(&self) -> Option<Timestamp> {
        let since = self.status_recorded_at.filter(|_| self.status == Status::Authorized)?;
        self.last_export_at.is_none_or(|at| at < since).then_some(since)
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
