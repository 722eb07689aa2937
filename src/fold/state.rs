//! The state of one realm: its connections and exports in the order of their ids, and the ways from one to the other.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use super::connection::Connection;
use super::export::{Export, JoinedExport};
use super::index::Index;
use super::ring::Change;

/// Cheap to clone; clones share what is equal.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State {
    connections: OrdMap<Arc<str>, Arc<Connection>>,
    /// From an `external_id` to its connections.
    by_external_id: Index,
    exports: OrdMap<Arc<str>, Arc<Export>>,
    /// From a connection to its exports.
    by_connection: Index,
}

impl State {
    pub fn connection(&self, id: &str) -> Option<&Arc<Connection>> {
        self.connections.get(id)
    }

    pub fn export(&self, task_id: &str) -> Option<&Arc<Export>> {
        self.exports.get(task_id)
    }

    /// All connections after an id, in order.
    pub fn connections(&self, after: Option<&str>) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections.range::<_, str>(beyond(after)).map(|(_, connection)| connection)
    }

    /// All exports after a task, in order.
    pub fn exports(&self, after: Option<&str>) -> impl Iterator<Item = &Arc<Export>> {
        self.exports.range::<_, str>(beyond(after)).map(|(_, export)| export)
    }

    /// The connections of one external id after an id, in order.
    pub fn connections_of<'a>(
        &'a self,
        external_id: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Connection>> + use<'a> {
        self.by_external_id.members(external_id, after).filter_map(|id| self.connection(id))
    }

    /// The exports of one connection after a task, in order.
    pub fn exports_of<'a>(
        &'a self,
        connection_id: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Export>> + use<'a> {
        self.by_connection.members(connection_id, after).filter_map(|task_id| self.export(task_id))
    }

    /// With its connection, if that is known.
    pub fn join(&self, export: &Arc<Export>) -> JoinedExport {
        let connection = export.connection_id.as_ref().and_then(|id| self.connection(id));
        JoinedExport { export: export.clone(), connection: connection.cloned() }
    }

    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    pub fn export_count(&self) -> usize {
        self.exports.len()
    }

    pub(super) fn put(&mut self, change: &Change) {
        match change {
            Change::Connection { previous, current } => {
                let before = previous.as_ref().and_then(|connection| connection.facts.external_id.as_ref());
                self.by_external_id.shift(&current.id, before, current.facts.external_id.as_ref());
                self.connections.insert(current.id.clone(), current.clone());
            }
            Change::Export { previous, current } => {
                let before = previous.as_ref().and_then(|joined| joined.export.connection_id.as_ref());
                let export = &current.export;
                self.by_connection.shift(&export.task_id, before, export.connection_id.as_ref());
                self.exports.insert(export.task_id.clone(), export.clone());
            }
        }
    }
}

fn beyond(after: Option<&str>) -> (Bound<&str>, Bound<&str>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}
