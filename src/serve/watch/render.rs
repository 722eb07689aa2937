//! One position's changes as one watch sees them through its filter. Never split; None if it sees none of them.

use std::sync::Arc;

use super::super::convert;
use super::plan::Plan;
use crate::fold::{Change, Connection, JoinedExport, PositionChanges};
use crate::proto::change::{Effect, Entity, Previous};
use crate::proto::{self, ChangeBatch};

impl Plan {
    pub fn render(&self, changes: &PositionChanges) -> Option<ChangeBatch> {
        if changes.realm != self.realm {
            return None;
        }
        let changes: Vec<_> = changes.changes.iter().filter_map(|change| self.change(change)).collect();
        (!changes.is_empty()).then_some(ChangeBatch { changes })
    }

    fn change(&self, change: &Change) -> Option<proto::Change> {
        match change {
            Change::Connection { previous, current } if self.kinds.connections => {
                self.connection(previous.as_ref(), current)
            }
            Change::Export { previous, current } if self.kinds.exports => self.export(previous.as_ref(), current),
            Change::Connection { .. } | Change::Export { .. } => None,
        }
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
        // Only its connection has changed, in nothing that this watch or the export tells of it.
        let same = |previous: &JoinedExport| {
            previous.export == current.export && previous.external_id() == current.external_id()
        };
        if effect == Effect::Updated && previous.is_some_and(same) {
            return None;
        }
        let previous = previous.filter(|_| self.include_previous);
        Some(proto::Change {
            effect: effect.into(),
            entity: Some(Entity::Export(convert::export(current, &self.caller))),
            previous: previous.map(|previous| Previous::PreviousExport(convert::export(previous, &self.caller))),
        })
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
