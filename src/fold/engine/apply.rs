//! Owns the changes that one event makes. Pure and total: the same state and event give the same changes, and no event
//! is rejected. Entries that the state keeps only by position are read from the past. Knows no file, no clock and no
//! configuration.

use std::sync::Arc;

use crate::event::{Outcome, Position, ReportKind, Text, Timestamp};
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
    event: Occurrence<'_>,
) -> Result<Vec<Change>, ReadError> {
    let report = event.report;
    #[cfg(test)]
    crate::fold::tests::panic_if_planted(report.connection_id.as_deref());
    let step = ApplyStep { state, lookup, realm, event };
    let mut changes = Vec::new();
    let named = report.connection_id.as_ref().map(|id| step.connection(id));
    if let Some((previous, current)) = &named {
        changes.push(Change::Connection { previous: previous.clone(), current: current.clone() });
    }
    if let ReportKind::Export { task_id: Some(task_id), org_id, outcome } = &report.kind {
        let (heard_at, named) = (event.heard_at(), named.map(|(_, current)| current));
        changes.push(step.export(task_id, org_id, (outcome, heard_at), named)?);
    }
    Ok(changes)
}

/// One event, with the state and the past that it applies to.
struct ApplyStep<'a> {
    state: &'a RealmState,
    lookup: ChangeLookup<'a>,
    realm: &'a Realm,
    event: Occurrence<'a>,
}

impl ApplyStep<'_> {
    fn connection(&self, id: &Arc<str>) -> (Option<Arc<Connection>>, Arc<Connection>) {
        let previous = self.state.connection(&Id::of(id), NEWEST).cloned();
        let current = Connection::after(previous.as_deref(), self.realm, id, self.event);
        (previous, Arc::new(current))
    }

    /// Returns the change of an export. `named` is the connection that the event itself names, as it is after the
    /// event.
    fn export(
        &self,
        task_id: &Arc<str>,
        org_id: &Text,
        (outcome, heard_at): (&Outcome, Timestamp),
        named: Option<Arc<Connection>>,
    ) -> Result<Change, ReadError> {
        let key = Id::of(task_id);
        let known =
            self.state.export(&key, NEWEST).map(|slot| self.lookup.resolve(self.realm, &key, &slot)).transpose()?;
        let previous = known.map(|export| self.state.join(export, NEWEST));
        let named_id = named.as_ref().map(|connection| connection.id.clone());
        let mut export = match &previous {
            Some(joined) => joined.export.touched(self.event.mark, &named_id, org_id),
            None => {
                Export::unheard_of(self.realm, task_id, self.event.mark).touched(self.event.mark, &named_id, org_id)
            }
        };
        let connection = named.or_else(|| previous.as_ref().and_then(|joined| joined.connection.clone()));
        export.ended(outcome, heard_at, connection.as_deref());
        Ok(Change::Export { previous, current: JoinedExport { export: Arc::new(export), connection } })
    }
}
