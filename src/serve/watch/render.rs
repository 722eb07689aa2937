//! One position's changes as one watch sees them through its filter. Never split; None if it sees none of them.

use std::sync::Arc;

use super::super::convert;
use super::super::status::Refusal;
use super::plan::Plan;
use crate::event::Event;
use crate::fold::{Change, Connection, JoinedExport, PositionChanges, Views};
use crate::proto::change::{Effect, Entity, Previous};
use crate::proto::{self, ChangeBatch};

impl Plan {
    /// Whether the past has to be read for it, which blocks.
    pub fn reads_the_past(&self, changes: &PositionChanges) -> bool {
        let reads = |change: &Change| match change {
            Change::Rejoined { previous, current, .. } => self.rejoining(previous, current).is_some(),
            Change::Connection { .. } | Change::Export { .. } => false,
        };
        changes.realm == self.realm && changes.changes.iter().any(reads)
    }

    pub fn render(&self, changes: &PositionChanges, views: &Views) -> Result<Option<ChangeBatch>, Refusal> {
        if changes.realm != self.realm {
            return Ok(None);
        }
        let mut seen = Vec::new();
        for change in &changes.changes {
            seen.extend(self.change(change, views)?);
        }
        Ok((!seen.is_empty()).then_some(ChangeBatch { changes: seen, event: None }))
    }

    /// Whether what it is shown depends on more than the changes.
    pub fn asks_for_the_event(&self) -> bool {
        self.include_event || !self.event_types.is_empty()
    }

    /// The changes with the event that brought them; None if it is of another type.
    pub fn with_event(&self, batch: ChangeBatch, event: Event) -> Option<ChangeBatch> {
        let event = convert::event(event, &self.caller);
        let wanted = self.event_types.is_empty() || self.event_types.contains(&event.r#type);
        wanted.then(|| ChangeBatch { event: self.include_event.then_some(event), ..batch })
    }

    fn change(&self, change: &Change, views: &Views) -> Result<Option<proto::Change>, Refusal> {
        Ok(match change {
            Change::Connection { previous, current } if self.kinds.connections => {
                self.connection(previous.as_ref(), current)
            }
            Change::Export { previous, current } if self.kinds.exports => self.export(previous.as_ref(), current),
            Change::Rejoined { task_id, changed_at, previous, current } => {
                let Some(effect) = self.rejoining(previous, current) else { return Ok(None) };
                let export = views.rejoined(&self.realm, task_id, *changed_at)?;
                let joined = |connection: &Arc<Connection>| JoinedExport {
                    export: export.clone(),
                    connection: Some(connection.clone()),
                };
                Some(self.exported(effect, Some(&joined(previous)), &joined(current)))
            }
            Change::Connection { .. } | Change::Export { .. } => None,
        })
    }

    /// What it means for an export that its connection looks different; None: nothing that this watch or the export tells.
    fn rejoining(&self, previous: &Connection, current: &Connection) -> Option<Effect> {
        let matches = |connection: &Connection| self.filter.connection.matches(connection);
        let effect = effect(matches(previous), matches(current)).filter(|_| self.kinds.exports)?;
        let same = previous.facts.external_id == current.facts.external_id;
        (effect != Effect::Updated || !same).then_some(effect)
    }

    fn connection(&self, previous: Option<&Arc<Connection>>, current: &Connection) -> Option<proto::Change> {
        let matches = |connection: &Connection| self.filter.connection.matches(connection);
        let effect = effect(previous.is_some_and(|previous| matches(previous)), matches(current))?;
        let previous = previous.filter(|_| self.include_previous);
        Some(proto::Change {
            effect: effect.into(),
            entity: Some(Entity::Connection(convert::connection(current))),
            previous: previous.map(|previous| Previous::PreviousConnection(convert::connection(previous))),
        })
    }

    fn export(&self, previous: Option<&JoinedExport>, current: &JoinedExport) -> Option<proto::Change> {
        let matches = |joined: &JoinedExport| self.filter.matches(&joined.export, joined.connection.as_deref());
        let effect = effect(previous.is_some_and(matches), matches(current))?;
        Some(self.exported(effect, previous, current))
    }

    fn exported(&self, effect: Effect, previous: Option<&JoinedExport>, current: &JoinedExport) -> proto::Change {
        let previous = previous.filter(|_| self.include_previous);
        proto::Change {
            effect: effect.into(),
            entity: Some(Entity::Export(convert::export(current, &self.caller))),
            previous: previous.map(|previous| Previous::PreviousExport(convert::export(previous, &self.caller))),
        }
    }
}

/// None: it matched neither before nor after.
fn effect(before: bool, after: bool) -> Option<Effect> {
    match (before, after) {
        (false, false) => None,
        (false, true) => Some(Effect::Entered),
        (true, true) => Some(Effect::Updated),
        (true, false) => Some(Effect::Left),
    }
}
