//! Owns one connection, and how reports about it change it. The rules are in docs/rules.md.
//! Knows no export and no file.

use std::fmt;
use std::sync::Arc;

use super::entity::{Lineage, Realm, RelativePosition, absorb_facts};
use super::interner::Interner;
use super::occurrence::Occurrence;
use crate::event::{Attempt, Facts, ReportKind, Text, Timestamp};

/// Permission of Fasten to fetch the patient's records. The numbers are stored, and part of tokens; never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// No event has reported a status: the connection is known only from exports, or from events of unknown types.
    Unknown = 1,
    Authorized = 2,
    Rejected = 3,
    Revoked = 4,
    /// A word that we do not know; `reported_status` has it.
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

    pub fn from_stored(byte: u8) -> Option<Self> {
        [Self::Unknown, Self::Authorized, Self::Rejected, Self::Revoked, Self::Unrecognized]
            .into_iter()
            .find(|status| *status as u8 == byte)
    }
}

/// Longest time between an event and the delivery's date. Fasten reports when it attempted a delivery, not when the
/// event happened, and retries for 24 h at most.
const RETRIED_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// One patient's link to one health system.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own: any of them may hold with any other")]
pub struct Connection {
    pub realm: Realm,
    /// Fasten's id; opaque.
    pub id: Arc<str>,
    pub status: Status,
    /// Status word as Fasten wrote it.
    pub reported_status: Text,
    /// Recording time of the event that set the current status. Later events that repeat the status do not count.
    pub status_recorded_at: Option<Timestamp>,
    /// Upper bound of when the event that set `status` happened; the lower bound is 24 h earlier.
    pub status_date: Option<Timestamp>,
    /// Contradicting events, among them the one that set the current status, may have happened in another order than
    /// they arrived in.
    pub order_ambiguous: bool,
    /// The last event that named the connection had happened before the event that set its status, so it was history
    /// already.
    pub last_was_late: bool,
    pub facts: Arc<Facts>,
    pub attempt: Arc<Attempt>,
    /// Position of the event that last changed the fields which [`Self::describe_as`] copies. Its change record has
    /// these fields, and later records refer to it.
    pub described_at: RelativePosition,
    /// True if it was revoked since the last authorisation, or ever if there was none.
    pub was_revoked: bool,
    /// Number of returns from revoked to authorized, whatever the statuses in between.
    pub reconnect_count: u32,
    pub last_reconnected_at: Option<Timestamp>,
    /// Recording time of the last event that named the connection and reported how an export ended.
    pub last_export_at: Option<Timestamp>,
    /// Since the last authorisation, an export has failed for lack of a token.
    pub needs_reconnect: bool,
    pub lineage: Lineage,
}

impl Connection {
    /// Returns the connection after an event that names it.
    pub fn after(previous: Option<&Self>, realm: &Realm, id: &Arc<str>, occurrence: Occurrence<'_>) -> Self {
        let lineage = Lineage::extend(previous.map(|connection| &connection.lineage), occurrence.event_ref);
        let mut connection = match previous {
            Some(connection) => Self { lineage, ..connection.clone() },
            None => Self::new(realm, id, lineage),
        };
        let date = occurrence.happened_by();
        connection.last_was_late = false;
        match &occurrence.report.kind {
            ReportKind::Attempt { facts, .. } | ReportKind::Revocation { facts, .. } if connection.is_history(date) => {
                connection.learn_history(facts);
            }
            ReportKind::Attempt { status, facts, attempt } => connection.apply_attempt(status, facts, attempt, date),
            ReportKind::Revocation { status, facts } => connection.apply_revocation(status, facts, date),
            ReportKind::Export { org_id, outcome, .. } => {
                let needs_reconnect = outcome.token_failed() && connection.had_status_by(occurrence.reported_at());
                connection.apply_export(org_id, needs_reconnect);
            }
            ReportKind::Unknown => {}
        }
        if previous.is_some_and(|previous| !previous.is_described_as(&connection)) {
            connection.described_at = RelativePosition(occurrence.event_ref.position);
        }
        connection
    }

    /// Returns a connection before its first report.
    pub fn new(realm: &Realm, id: &Arc<str>, lineage: Lineage) -> Self {
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
            described_at: RelativePosition(lineage.first.position),
            was_revoked: false,
            reconnect_count: 0,
            last_reconnected_at: None,
            last_export_at: None,
            needs_reconnect: false,
            lineage,
        }
    }

    /// Returns whether the current status was reported by `time`. True if no status is known.
    pub fn had_status_by(&self, time: Timestamp) -> bool {
        self.status_date.is_none_or(|reported| reported <= time)
    }

    /// Returns whether an event that happened by `date` had happened before the event that set the current status.
    fn is_history(&self, date: Timestamp) -> bool {
        self.status_date.is_some_and(|current| date < current.plus_micros(-RETRIED_MICROS))
    }

    /// Takes from history only facts that were never reported before.
    fn learn_history(&mut self, facts: &Facts) {
        self.last_was_late = true;
        let mut combined = facts.clone();
        absorb_facts(&mut combined, &self.facts);
        self.learn(&combined);
    }

    /// Applies an attempt to connect. Without a status, it says nothing about the authorisation.
    fn apply_attempt(&mut self, reported: &Text, facts: &Facts, attempt: &Attempt, date: Timestamp) {
        self.learn(facts);
        self.attempt = Arc::new(attempt.clone());
        if let Some(word) = reported {
            self.set_status(Status::of(word), reported, date);
        }
    }

    /// Applies a revocation. The type of the event decides, whatever status its body has.
    fn apply_revocation(&mut self, reported: &Text, facts: &Facts, date: Timestamp) {
        self.learn(facts);
        self.set_status(Status::Revoked, reported, date);
    }

    /// Applies the end of an export, which never changes the authorisation.
    fn apply_export(&mut self, org_id: &Text, needs_reconnect: bool) {
        if org_id.is_some() && *org_id != self.facts.org_id {
            self.learn(&Facts { org_id: org_id.clone(), ..Facts::default() });
        }
        self.last_export_at = Some(self.lineage.last.recorded_at);
        self.needs_reconnect |= needs_reconnect;
    }

    /// Adds facts to the known ones. Facts that stay equal keep their place in memory: most events repeat known facts.
    fn learn(&mut self, facts: &Facts) {
        let mut known = (*self.facts).clone();
        absorb_facts(&mut known, facts);
        if known != *self.facts {
            self.facts = Arc::new(known);
        }
    }

    /// Returns whether the fields that [`Self::describe_as`] copies are equal. Compares most of them by their place in
    /// memory.
    fn is_described_as(&self, other: &Self) -> bool {
        fn described(connection: &Connection) -> impl PartialEq + '_ {
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
                lineage,
            } = connection;
            let of_status = (status, reported_status, status_recorded_at, status_date, order_ambiguous, was_revoked);
            (of_status, reconnect_count, last_reconnected_at, facts, attempt, lineage.first, id, realm)
        }
        described(self) == described(other)
    }

    /// Copies the description from another state of the same connection: all fields that an event of an export leaves
    /// unchanged.
    pub fn describe_as(&mut self, other: &Self) {
        let Self { last_was_late, described_at, last_export_at, needs_reconnect, lineage, .. } = *self;
        let lineage = Lineage { first: other.lineage.first, ..lineage };
        *self = Self { last_was_late, described_at, last_export_at, needs_reconnect, lineage, ..other.clone() };
    }

    fn set_status(&mut self, status: Status, reported: &Text, date: Timestamp) {
        let now = self.lineage.last.recorded_at;
        if self.was_revoked && status == Status::Authorized {
            self.reconnect_count = self.reconnect_count.saturating_add(1);
            self.last_reconnected_at = Some(now);
        }
        let another_word = status == Status::Unrecognized && self.reported_status != *reported;
        let another = self.status != status || another_word;
        if another {
            self.status_recorded_at = Some(now);
        }
        self.judge_order(date, another);
        self.needs_reconnect &= status != Status::Authorized;
        self.was_revoked = status == Status::Revoked || self.was_revoked && status != Status::Authorized;
        self.status = status;
        self.reported_status.clone_from(reported);
    }

    /// Records that a status was reported by `date`: certainly after all earlier statuses, or in an uncertain order.
    fn judge_order(&mut self, date: Timestamp, another: bool) {
        let Some(current) = self.status_date else {
            self.status_date = Some(date);
            return;
        };
        let certainly_after = date.plus_micros(-RETRIED_MICROS) > current;
        self.order_ambiguous = !certainly_after && (self.order_ambiguous || another);
        self.status_date = Some(current.max(date));
    }

    /// Replaces texts that other entities have too by the shared copy in memory.
    pub fn share(&mut self, interner: &mut Interner) {
        interner.share(&mut self.reported_status);
        interner.share_facts(Arc::make_mut(&mut self.facts));
        interner.share_attempt(Arc::make_mut(&mut self.attempt));
    }

    /// Returns the approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let Facts { external_id, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id } =
            &*self.facts;
        let Attempt { request_id, external_state, scope, .. } = &*self.attempt;
        let facts = [external_id, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id];
        let attempt = [request_id, external_state, scope, &self.reported_status];
        let texts = facts.into_iter().chain(attempt).flatten().map(|text| text.len());
        size_of::<Self>() + size_of::<Facts>() + size_of::<Attempt>() + self.id.len() + texts.sum::<usize>()
    }

    /// Returns the time of its authorisation, if no export has ended since.
    pub fn awaits_export_since(&self) -> Option<Timestamp> {
        if self.status != Status::Authorized {
            return None;
        }
        let since = self.status_recorded_at?;
        self.last_export_at.is_none_or(|at| at < since).then_some(since)
    }
}

// Patient data stays out of logs, panics and test output.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("realm", &self.realm)
            .field("id", &self.id)
            .field("status", &self.status)
            .field("lineage", &self.lineage)
            .finish_non_exhaustive()
    }
}
