//! What a watch asks of changes, and what a change means for it. Those who ask alike are told alike.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::super::filter::ExportFilter;
use super::super::principal::Principal;
use crate::fold::{Change, Connection, PositionChanges, Realm};
use crate::proto::change::Effect;

#[derive(PartialEq, Eq, Hash)]
pub(in super::super) struct Query {
    pub(super) caller: Principal,
    pub(super) realm: Realm,
    /// Its connection part is the watch's filter; an export matches when its connection does.
    pub(super) filter: ExportFilter,
    pub(super) kinds: Kinds,
    pub(super) include_previous: bool,
    pub(super) include_event: bool,
    /// Empty: any.
    pub(super) event_types: BTreeSet<String>,
}

#[derive(PartialEq, Eq, Hash)]
pub(super) struct Kinds {
    pub connections: bool,
    pub exports: bool,
}

impl Query {
    /// Whether any of some changes can be for it, by their [`external_ids`]: many watch one patient each.
    pub fn may_see(&self, external_ids: &HashSet<&str>) -> bool {
        let wanted = &self.filter.connection.external_ids;
        wanted.is_empty() || wanted.iter().any(|id| external_ids.contains(id.as_str()))
    }

    /// Whether any of a position's changes may be for it. None is if its event is of another type, or if it only asks for the
    /// exports of a connection that has none.
    pub fn sees(&self, changes: &PositionChanges) -> bool {
        let sees = |change| self.effect(change).is_some() || self.effect_on_exports(change).is_some();
        changes.realm == self.realm && changes.changes.iter().any(sees)
    }

    /// Whether the past has to be read to show it, which blocks.
    pub fn reads_the_past(&self, changes: &PositionChanges) -> bool {
        changes.changes.iter().any(|change| self.effect_on_exports(change).is_some())
    }

    /// Whether what it is shown depends on more than the changes.
    pub fn asks_for_the_event(&self) -> bool {
        self.include_event || !self.event_types.is_empty()
    }

    /// None: it is not for this query.
    pub fn effect(&self, change: &Change) -> Option<Effect> {
        let matches = |connection: &Connection| self.filter.connection.matches(connection);
        match change {
            Change::Connection { previous, current } if self.kinds.connections => {
                effect(previous.as_deref().is_some_and(matches), matches(current))
            }
            Change::Export { previous, current } if self.kinds.exports => {
                let shows = |export, connection| self.filter.matches(export, connection);
                let before = previous.as_ref().is_some_and(|it| shows(&it.export, it.connection.as_deref()));
                effect(before, shows(&current.export, current.connection.as_deref()))
            }
            Change::Connection { .. } | Change::Export { .. } => None,
        }
    }

    /// What the change of a connection means for each of its exports that is as it was, with the connection before and after.
    /// `None` if it is not for this query.
    pub fn effect_on_exports<'a>(&self, change: &'a Change) -> Option<(Effect, [&'a Arc<Connection>; 2])> {
        let Change::Connection { previous: Some(previous), current } = change else { return None };
        let matches = |connection: &Connection| self.kinds.exports && self.filter.connection.matches(connection);
        let same = previous.facts.external_id == current.facts.external_id;
        // An update only if the export tells something else.
        let effect = effect(matches(previous), matches(current)).filter(|effect| *effect != Effect::Updated || !same);
        effect.map(|effect| (effect, [previous, current]))
    }
}

/// All that connections have, or had, which some changes are about.
pub(super) fn external_ids(changes: &[Arc<PositionChanges>]) -> HashSet<&str> {
    let connections = changes.iter().flat_map(|changes| &changes.changes).flat_map(|change| match change {
        Change::Connection { previous, current } => [previous.as_ref(), Some(current)],
        Change::Export { previous, current } => {
            [previous.as_ref().and_then(|it| it.connection.as_ref()), current.connection.as_ref()]
        }
    });
    connections.flatten().filter_map(|connection| connection.facts.external_id.as_deref()).collect()
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
