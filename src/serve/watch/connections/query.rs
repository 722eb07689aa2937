//! Query of a watch, and the effect of a change on it. Equal queries get equal answers. Knows nothing of how changes
//! are read.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::fold::{Change, Connection, JoinedExport, PositionChanges, Realm};
use crate::proto::change::Effect;
use crate::serve::principal::Principal;
use crate::serve::query::ExportFilter;

#[derive(PartialEq, Eq, Hash)]
pub struct Query {
    pub principal: Principal,
    pub realm: Realm,
    /// Its connection part is the filter of the watch. An export matches when its connection does.
    pub filter: ExportFilter,
    pub kinds: Kinds,
    pub include_previous: bool,
    pub include_event: bool,
    /// Empty allows any.
    pub event_types: BTreeSet<String>,
}

#[derive(PartialEq, Eq, Hash)]
pub struct Kinds {
    pub connections: bool,
    pub exports: bool,
}

/// Effect of a connection's change on its exports, with the connection before and after.
pub struct ExportsEffect<'a> {
    pub effect: Effect,
    pub previous: &'a Arc<Connection>,
    pub current: &'a Arc<Connection>,
}

impl Query {
    /// Whether any of these changes can be for the query, judged by their [`external_ids`]. Many queries watch one
    /// patient each.
    pub fn may_see(&self, external_ids: &HashSet<&str>) -> bool {
        let wanted = &self.filter.connection.external_ids;
        wanted.is_empty() || wanted.iter().any(|id| external_ids.contains(id.as_str()))
    }

    /// Whether any of a position's changes may be for the query. It can still turn out that none is: if the event has
    /// an unwanted type, or if only the exports of a connection matter and it has none.
    pub fn sees(&self, changes: &PositionChanges) -> bool {
        let sees = |change| self.effect(change).is_some() || self.effect_on_exports(change).is_some();
        changes.realm == self.realm && changes.changes.iter().any(sees)
    }

    /// Whether the past must be read to show the changes, which blocks.
    pub fn reads_the_past(&self, changes: &PositionChanges) -> bool {
        changes.changes.iter().any(|change| self.effect_on_exports(change).is_some())
    }

    /// Whether the answer depends on the event itself, not on the changes alone.
    pub fn asks_for_the_event(&self) -> bool {
        self.include_event || !self.event_types.is_empty()
    }

    /// Returns the effect of a change. `None` if it is not for this query.
    pub fn effect(&self, change: &Change) -> Option<Effect> {
        let matches = |connection: &Connection| self.filter.connection.matches(connection);
        match change {
            Change::Connection { previous, current } if self.kinds.connections => {
                effect(previous.as_deref().is_some_and(matches), matches(current))
            }
            Change::Export { previous, current } if self.kinds.exports => {
                let matches = |joined: &JoinedExport| self.filter.matches(&joined.export, joined.connection.as_deref());
                effect(previous.as_ref().is_some_and(matches), matches(current))
            }
            Change::Connection { .. } | Change::Export { .. } => None,
        }
    }

    /// Returns the effect of a connection's change on each of its exports that did not change itself. `None` if it is
    /// not for this query.
    pub fn effect_on_exports<'a>(&self, change: &'a Change) -> Option<ExportsEffect<'a>> {
        let Change::Connection { previous: Some(previous), current } = change else { return None };
        let matches = |connection: &Connection| self.kinds.exports && self.filter.connection.matches(connection);
        let effect = effect(matches(previous), matches(current))?;
        // An update counts only if the export shows another external id.
        if effect == Effect::Updated && previous.facts.external_id == current.facts.external_id {
            return None;
        }
        Some(ExportsEffect { effect, previous, current })
    }
}

/// Returns the external ids that the connections of these changes have, or had.
pub fn external_ids(changes: &[Arc<PositionChanges>]) -> HashSet<&str> {
    let connections = changes.iter().flat_map(|changes| &changes.changes).flat_map(|change| match change {
        Change::Connection { previous, current } => [previous.as_ref(), Some(current)],
        Change::Export { previous, current } => {
            [previous.as_ref().and_then(|joined| joined.connection.as_ref()), current.connection.as_ref()]
        }
    });
    connections.flatten().filter_map(|connection| connection.facts.external_id.as_deref()).collect()
}

/// Returns the effect on a query. `None` if the entity matched neither before nor after.
fn effect(before: bool, after: bool) -> Option<Effect> {
    match (before, after) {
        (false, false) => None,
        (false, true) => Some(Effect::Entered),
        (true, true) => Some(Effect::Updated),
        (true, false) => Some(Effect::Left),
    }
}
