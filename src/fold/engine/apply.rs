//! Owns the changes that one event makes. Pure and total: the same state and event give the same changes, and no event
//! is rejected. Entries that the state keeps only by position are read from the past. Knows no file, no clock and no
//! configuration.

use std::sync::Arc;

use crate::event::{Outcome, Position, ReportKind, Text};
use crate::fold::changes::ChangeLookup;
use crate::fold::entities::{Change, Connection, Export, Id, JoinedExport, Occurrence, Realm};
use crate::fold::state::RealmState;
use crate::segment::ReadError;

const NEWEST: Position = Position::MAX;

/// Returns the changes of an event in the state of its realm. An error comes from reading the past.
pub fn apply(
    state: &RealmState,
    lookup: ChangeLookup<'_>,
    realm: &Realm,
    occurrence: Occurrence<'_>,
) -> Result<Vec<Change>, ReadError> {
    let report = occurrence.report;
    #[cfg(test)]
    crate::fold::tests::panic_if_planted(report.connection_id.as_deref());
    let mut changes = Vec::new();
    let mut named = None;
    if let Some(id) = &report.connection_id {
        let previous = state.connection(&Id::of(id), NEWEST).cloned();
        let current = Arc::new(Connection::after(previous.as_deref(), realm, id, occurrence));
        changes.push(Change::Connection { previous, current: current.clone() });
        named = Some(current);
    }
    if let ReportKind::Export { task_id: Some(task_id), org_id, outcome } = &report.kind {
        let step = ApplyStep { state, lookup, realm, occurrence };
        changes.push(step.export(task_id, org_id, outcome, named)?);
    }
    Ok(changes)
}

/// One event, with the state and the past that it applies to.
struct ApplyStep<'a> {
    state: &'a RealmState,
    lookup: ChangeLookup<'a>,
    realm: &'a Realm,
    occurrence: Occurrence<'a>,
}

impl ApplyStep<'_> {
    /// Returns the change of an export. `named` is the connection that the event itself names, as it is after the
    /// event.
    fn export(
        &self,
        task_id: &Arc<str>,
        org_id: &Text,
        outcome: &Outcome,
        named: Option<Arc<Connection>>,
    ) -> Result<Change, ReadError> {
        let key = Id::of(task_id);
        let known =
            self.state.export(&key, NEWEST).map(|slot| self.lookup.resolve(self.realm, &key, &slot)).transpose()?;
        let previous = known.map(|export| self.state.join(export, NEWEST));
        let event_ref = self.occurrence.event_ref;
        let named_id = named.as_ref().map(|connection| connection.id.clone());
        let mut export = match &previous {
            Some(joined) => joined.export.touched(event_ref, &named_id, org_id),
            None => Export::new(self.realm, task_id, event_ref).touched(event_ref, &named_id, org_id),
        };
        let connection = named.or_else(|| previous.as_ref().and_then(|joined| joined.connection.clone()));
        export.apply_outcome(outcome, self.occurrence.reported_at(), connection.as_deref());
        Ok(Change::Export { previous, current: JoinedExport { export: Arc::new(export), connection } })
    }
}
