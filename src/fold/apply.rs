//! One event's changes. Pure and total: the same state and event give the same changes, and no event is beyond it.

use std::sync::Arc;

use super::connection::Connection;
use super::entity::{Mark, Realm, Text};
use super::export::{Export, JoinedExport};
use super::payload;
use super::report::{Outcome, Told};
use super::ring::Change;
use super::state::State;
use crate::event::Event;

/// What `event` changes in the state of its realm; empty for events that are only kept.
pub fn apply(state: &State, realm: &Realm, event: &Event) -> Vec<Change> {
    let Some(report) = payload::read(&event.delivery.body) else { return Vec::new() };
    let step = Step { state, realm, mark: Mark { position: event.position, recorded_at: event.recorded_at } };

    let mut changes = Vec::new();
    let named = report.connection_id.as_ref().map(|id| step.connection(id, &report.told));
    if let Some((previous, current)) = &named {
        changes.push(Change::Connection { previous: previous.clone(), current: current.clone() });
        changes.extend(step.rejoined(previous.as_ref(), current));
    }
    if let Told::Export { task_id: Some(task_id), org_id, outcome } = &report.told {
        changes.push(step.export(task_id, org_id, outcome, named.map(|(_, current)| current)));
    }
    changes
}

/// One event at its place.
struct Step<'a> {
    state: &'a State,
    realm: &'a Realm,
    mark: Mark,
}

impl Step<'_> {
    fn connection(&self, id: &Arc<str>, told: &Told) -> (Option<Arc<Connection>>, Arc<Connection>) {
        let previous = self.state.connection(id).cloned();
        let current = Connection::after(previous.as_deref(), self.realm, id, self.mark, told);
        (previous, Arc::new(current))
    }

    /// The exports that a filter on connections may see otherwise now, although they are as they were.
    fn rejoined(&self, previous: Option<&Arc<Connection>>, current: &Arc<Connection>) -> Vec<Change> {
        let Some(previous) = previous.filter(|previous| previous.looks_different(current)) else { return Vec::new() };
        let exports = self.state.exports_of(&current.id, None);
        let joined = |export: &Arc<Export>, connection: &Arc<Connection>| JoinedExport {
            export: export.clone(),
            connection: Some(connection.clone()),
        };
        exports
            .map(|export| Change::Export { previous: Some(joined(export, previous)), current: joined(export, current) })
            .collect()
    }

    /// `named`: the connection that the event itself names, as it leaves it.
    fn export(&self, task_id: &Arc<str>, org_id: &Text, outcome: &Outcome, named: Option<Arc<Connection>>) -> Change {
        let previous = self.state.export(task_id).map(|export| self.state.join(export));
        let named_id = named.as_ref().map(|connection| connection.id.clone());
        let mut export = match &previous {
            Some(joined) => joined.export.touched(self.mark, &named_id, org_id),
            None => Export::unheard_of(self.realm, task_id, self.mark).touched(self.mark, &named_id, org_id),
        };
        let connection = named.or_else(|| previous.as_ref().and_then(|joined| joined.connection.clone()));
        export.ended(outcome, connection.as_deref());
        Change::Export { previous, current: JoinedExport { export: Arc::new(export), connection } }
    }
}
