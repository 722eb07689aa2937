//! Owns the change of entities by one event. Knows nothing of where changes are kept.

use std::sync::Arc;

use super::connection::Connection;
use super::entity::Realm;
use super::export::JoinedExport;
use crate::event::{ChainPrefix, Cursor, Position};

/// One entity before and after an event. A change of a connection is no change of its exports, which stay as they are:
/// [`Views::exports_of_at`](crate::fold::views::Views::exports_of_at) lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Connection { previous: Option<Arc<Connection>>, current: Arc<Connection> },
    Export { previous: Option<JoinedExport>, current: JoinedExport },
}

/// All changes of one position: a connection, an export or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionChanges {
    pub position: Position,
    /// Prefix of the hash chain's value there.
    pub chain: ChainPrefix,
    /// Realm of all changes: an event changes one realm only.
    pub realm: Realm,
    pub changes: Vec<Change>,
}

impl PositionChanges {
    pub fn cursor(&self) -> Cursor {
        Cursor { position: self.position, chain: self.chain }
    }

    /// Returns the connection as this event described it. `None` if it did not.
    pub fn description_of(&self, connection: &Connection) -> Option<&Arc<Connection>> {
        let described = self.changes.iter().find_map(|change| match change {
            Change::Connection { current, .. } if current.id == connection.id => Some(current),
            _ => None,
        });
        described.filter(|current| current.described_at == connection.described_at)
    }

    /// Returns the approximate memory that it keeps alive in addition to the state: the previous entities and the
    /// changes.
    pub fn weight(&self) -> usize {
        let weight = |change: &Change| match change {
            Change::Connection { previous, .. } => previous.as_ref().map_or(0, |previous| previous.weight()),
            Change::Export { previous, .. } => previous.as_ref().map_or(0, |previous| previous.export.weight()),
        };
        let own = size_of::<Self>() + self.changes.len() * size_of::<Change>();
        own + self.changes.iter().map(weight).sum::<usize>()
    }
}
