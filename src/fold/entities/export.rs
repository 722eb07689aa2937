//! Owns one export, and how its outcomes change it. The rules are in docs/rules.md. Knows no file.

use std::fmt;
use std::sync::Arc;

use super::connection::{Connection, Status};
use super::entity::{EventRef, Lineage, Realm, absorb};
use super::id::Id;
use super::interner::Interner;
use crate::event::{Link, Outcome, Stats, Text, Timestamp};

/// Lifetime of an export. Fasten deletes an export 24 h after it first retrieved it. That cannot be later than the
/// first report that the export is ready.
const LIFETIME_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// Outcome of an export. The numbers are stored, and part of tokens; never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportStatus {
    Ready = 1,
    Failed = 2,
}

impl ExportStatus {
    pub fn from_stored(byte: u8) -> Option<Self> {
        [Self::Ready, Self::Failed].into_iter().find(|status| *status as u8 == byte)
    }
}

/// One task at Fasten.
#[derive(Clone, PartialEq, Eq)]
pub struct Export {
    pub realm: Realm,
    /// Fasten's id; opaque.
    pub task_id: Arc<str>,
    pub status: ExportStatus,
    /// Reason as Fasten wrote it; an open list. `None` unless FAILED.
    pub failure_reason: Text,
    /// `None` until an event names it.
    pub connection_id: Text,
    pub org_id: Text,
    /// Like `stats` and `deadline`, kept after a later failure: the failure may be late news of an earlier try.
    pub links: Arc<[Link]>,
    pub stats: Option<Arc<Stats>>,
    /// Latest time at which the links can still work.
    pub deadline: Option<Timestamp>,
    /// The export is READY, although its connection was revoked at that time.
    pub after_revocation: bool,
    /// Time of the report of the outcome that counts, which is the latest one. `None` if it is the recording time of
    /// the last event.
    pub reported_at: Option<Timestamp>,
    pub lineage: Lineage,
}

impl Export {
    /// Returns an export before its first event.
    pub fn new(realm: &Realm, task_id: &Arc<str>, event: EventRef) -> Self {
        Self {
            realm: realm.clone(),
            task_id: task_id.clone(),
            status: ExportStatus::Failed,
            failure_reason: None,
            connection_id: None,
            org_id: None,
            links: Arc::default(),
            stats: None,
            deadline: None,
            after_revocation: false,
            reported_at: None,
            lineage: Lineage { version: 0, first: event, last: event },
        }
    }

    /// Returns the export after an event, except for the outcome.
    #[must_use]
    pub fn touched(&self, event: EventRef, connection_id: &Text, org_id: &Text) -> Self {
        let reported_at = if self.lineage.version > 0 { Some(self.outcome_reported_at()) } else { None };
        let mut export = Self { lineage: Lineage::extend(Some(&self.lineage), event), reported_at, ..self.clone() };
        absorb(&mut export.connection_id, connection_id);
        absorb(&mut export.org_id, org_id);
        export
    }

    /// Returns the time of the report of the outcome that counts.
    pub fn outcome_reported_at(&self) -> Timestamp {
        self.reported_at.unwrap_or(self.lineage.last.recorded_at)
    }

    /// Applies an outcome. `reported_at` is before the recording time of its event only if the event did not come by a
    /// webhook. `connection` is the one that the export belongs to, as it is now.
    pub fn apply_outcome(&mut self, outcome: &Outcome, reported_at: Timestamp, connection: Option<&Connection>) {
        let before = self.reported_at;
        let latest = before.map_or(reported_at, |before| before.max(reported_at));
        self.reported_at = if latest == self.lineage.last.recorded_at { None } else { Some(latest) };
        if before.is_some_and(|before| reported_at < before) {
            return self.learn_history(outcome, reported_at);
        }
        match outcome {
            Outcome::Ready { links, stats } => {
                self.set_ready(links, stats.as_ref(), reported_at);
                self.after_revocation = connection.is_some_and(|connection| {
                    connection.status == Status::Revoked && connection.had_status_by(reported_at)
                });
            }
            Outcome::Failed { reason } => self.set_failed(reason),
        }
    }

    /// Takes from history only values that were never reported before.
    fn learn_history(&mut self, outcome: &Outcome, reported_at: Timestamp) {
        let Outcome::Ready { links, stats } = outcome else { return };
        if self.deadline.is_none() {
            self.deadline = Some(reported_at.plus_micros(LIFETIME_MICROS));
            self.links = links.clone();
        }
        if self.stats.is_none() {
            self.stats.clone_from(stats);
        }
    }

    fn set_ready(&mut self, links: &Arc<[Link]>, stats: Option<&Arc<Stats>>, reported_at: Timestamp) {
        self.status = ExportStatus::Ready;
        self.failure_reason = None;
        // Before the deadline, this is another report of the same export. After it, Fasten has made the export again,
        // and the old links are dead.
        let is_new = self.deadline.is_none_or(|deadline| deadline < reported_at);
        if is_new {
            self.deadline = Some(reported_at.plus_micros(LIFETIME_MICROS));
        }
        if is_new || !links.is_empty() {
            self.links = links.clone();
        }
        if stats.is_some() {
            self.stats = stats.cloned();
        }
    }

    fn set_failed(&mut self, reason: &Text) {
        self.status = ExportStatus::Failed;
        self.failure_reason.clone_from(reason);
        self.after_revocation = false;
    }

    /// Returns the id of the connection that it belongs to, or [`Id::Empty`] if none is known.
    pub fn owner(&self) -> Id {
        self.connection_id.as_ref().map_or(Id::Empty, Id::of)
    }

    /// Returns the time from which the state can leave memory: the deadline, or else a day after the last event.
    pub fn settles_at(&self) -> Timestamp {
        self.deadline.unwrap_or_else(|| self.lineage.last.recorded_at.plus_micros(LIFETIME_MICROS))
    }

    /// Replaces texts that other entities have too by the shared copy in memory.
    pub fn share(&mut self, interner: &mut Interner) {
        interner.share(&mut self.failure_reason);
        interner.share(&mut self.org_id);
    }

    /// Returns the approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let links: usize = self.links.iter().map(|link| size_of::<Link>() + link.url.len()).sum();
        let stats = self
            .stats
            .as_ref()
            .map_or(0, |stats| stats.total_by_resource_type.keys().map(|kind| kind.len() + 32).sum::<usize>());
        let texts = [&self.failure_reason, &self.connection_id, &self.org_id];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        size_of::<Self>() + self.task_id.len() + texts + links + stats
    }
}

/// An export, with its connection at the same position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedExport {
    pub export: Arc<Export>,
    pub connection: Option<Arc<Connection>>,
}

impl JoinedExport {
    /// Returns the integrator's id of the patient, which the connection has.
    pub fn external_id(&self) -> Option<&str> {
        self.connection.as_ref()?.facts.external_id.as_deref()
    }
}

// Links open patient records, so they stay out of logs, panics and test output.
impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("realm", &self.realm)
            .field("task_id", &self.task_id)
            .field("status", &self.status)
            .field("lineage", &self.lineage)
            .finish_non_exhaustive()
    }
}
