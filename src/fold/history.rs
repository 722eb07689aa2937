//! Owns history: an entity at an earlier position, and the events that changed it. Reads the change log, which blocks.
//! Knows no file and no encoding.
//!
//! Each state has the position of the event that made it, and the record of that event has the state before. So history
//! is a walk from the newest state back, and only the entity's own events lengthen it.

use std::sync::Arc;

use super::entities::{Change, Connection, Export, Id, JoinedExport, PositionChanges, Realm};
use super::views::Views;
use crate::event::{Position, bounded};
use crate::segment::ReadError;

/// One event of a connection.
pub struct Moment {
    /// All changes of the event.
    pub changes: Arc<PositionChanges>,
    /// Connection after the event.
    pub connection: Arc<Connection>,
    /// Connection before the event. `None` if this was its first event.
    pub previous: Option<Arc<Connection>>,
}

impl Views {
    /// Returns the event at a position, which must have changed this connection.
    pub fn moment(&self, realm: &Realm, id: &str, position: Position) -> Result<Moment, ReadError> {
        let changes = self.changed(realm, position)?;
        let id = bounded(id);
        let found = changes.changes.iter().find_map(|change| match change {
            Change::Connection { previous, current } if *current.id == *id => Some((current.clone(), previous.clone())),
            _ => None,
        });
        let missing = ReadError::Damaged { from: position, reason: "its record lacks the expected connection" };
        let (connection, previous) = found.ok_or(missing)?;
        Ok(Moment { changes, connection, previous })
    }

    /// Returns whether the event at a position changed this connection.
    pub fn is_changed_at(&self, realm: &Realm, id: &str, position: Position) -> Result<bool, ReadError> {
        let changes = self.changes_at(position)?.filter(|changes| changes.realm == *realm);
        Ok(changes.is_some_and(|changes| {
            let is_named = |change: &Change| matches!(change, Change::Connection { current, .. } if *current.id == *id);
            changes.changes.iter().any(is_named)
        }))
    }

    /// Returns a connection as it was after a position. `None` if no event had named it, or the walk was cancelled.
    pub fn connection_at(
        &self,
        realm: &Realm,
        id: &str,
        at: Position,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Arc<Connection>>, ReadError> {
        let Some(mut connection) = self.connection(realm, id) else { return Ok(None) };
        while connection.lineage.last.position > at {
            if is_cancelled() {
                return Ok(None);
            }
            let Some(previous) = self.moment(realm, id, connection.lineage.last.position)?.previous else {
                return Ok(None);
            };
            connection = previous;
        }
        Ok(Some(connection))
    }

    /// Returns an export as it was after a position, with its connection at that position. `None` if no event had named
    /// it, or the walk was cancelled.
    pub fn export_at(
        &self,
        realm: &Realm,
        task_id: &str,
        at: Position,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<JoinedExport>, ReadError> {
        let Some(JoinedExport { export, .. }) = self.export(realm, task_id)? else { return Ok(None) };
        let Some(export) = self.rewind(realm, export, at, is_cancelled)? else { return Ok(None) };
        let connection = match &export.connection_id {
            Some(id) => self.connection_at(realm, id, at, is_cancelled)?,
            None => None,
        };
        Ok(Some(JoinedExport { export, connection }))
    }

    /// Returns the exports that belonged to a connection after a position, each as it was then, in the order of their
    /// ids. The position must not be after that of these views. Reads the change log, which blocks, for exports that
    /// have settled or changed since.
    pub fn exports_of_at(
        &self,
        realm: &Realm,
        owner: Id,
        at: Position,
    ) -> impl Iterator<Item = Result<Arc<Export>, ReadError>> {
        // Exports that belong to another connection now are still among the members.
        let members = self.exports_of(realm, owner.clone(), None);
        members.filter_map(move |(task_id, member)| {
            let export = self.shared.lookup().resolve(realm, &task_id, &member.slot);
            let then = export.and_then(|export| self.rewind(realm, export, at, &|| false));
            then.map(|export| export.filter(|export| export.owner() == owner)).transpose()
        })
    }

    /// Returns an export as it was after a position. `None` if no event had named it, or the walk was cancelled.
    fn rewind(
        &self,
        realm: &Realm,
        mut export: Arc<Export>,
        at: Position,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Arc<Export>>, ReadError> {
        if export.lineage.first.position > at {
            return Ok(None);
        }
        while export.lineage.last.position > at {
            if is_cancelled() {
                return Ok(None);
            }
            let Some(before) = self.export_before(realm, &export)? else { return Ok(None) };
            export = before;
        }
        Ok(Some(export))
    }

    fn export_before(&self, realm: &Realm, export: &Export) -> Result<Option<Arc<Export>>, ReadError> {
        let position = export.lineage.last.position;
        let changes = in_realm(self.shared.lookup().undescribed(position)?, realm, position)?;
        let found = changes.changes.iter().find_map(|change| match change {
            Change::Export { previous, current } if current.export.task_id == export.task_id => Some(previous),
            _ => None,
        });
        let missing = ReadError::Damaged { from: position, reason: "its record lacks the expected export" };
        Ok(found.ok_or(missing)?.as_ref().map(|previous| previous.export.clone()))
    }

    /// Returns the changes of a position, which must have some in this realm.
    fn changed(&self, realm: &Realm, position: Position) -> Result<Arc<PositionChanges>, ReadError> {
        in_realm(self.changes_at(position)?, realm, position)
    }
}

fn in_realm(
    changes: Option<Arc<PositionChanges>>,
    realm: &Realm,
    from: Position,
) -> Result<Arc<PositionChanges>, ReadError> {
    let reason = "its record lacks the expected change";
    changes.filter(|changes| changes.realm == *realm).ok_or(ReadError::Damaged { from, reason })
}
