//! Owns reads of past changes by position: the ring has the newest changes, the change log has all before them. Knows
//! no file and no encoding.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::change_log::ChangeLog;
use super::record::Describe;
use super::ring::{ChangeRange, Ring};
use crate::event::{Cursor, Position};
use crate::fold::entities::{Change, Connection, Export, Id, PositionChanges, Realm};
use crate::fold::state::{ExportSlot, RealmState};
use crate::segment::ReadError;

/// Access to past changes. Cheap to make. Reads block.
#[derive(Clone, Copy)]
pub struct ChangeLookup<'a> {
    pub realms: &'a RwLock<BTreeMap<Realm, Arc<RwLock<RealmState>>>>,
    pub ring: &'a RwLock<Ring>,
    pub changes: Option<&'a ChangeLog>,
}

impl ChangeLookup<'_> {
    /// Returns the changes of a position. `None` if there are none.
    pub fn at(&self, position: Position) -> Result<Option<Arc<PositionChanges>>, ReadError> {
        self.note_failure(self.read(position, &|connection| self.describe(connection)))
    }

    /// Like [`Self::at`], but does not note a failure. `describe` completes the connections of a record in the change
    /// log.
    fn read(&self, position: Position, describe: &Describe<'_>) -> Result<Option<Arc<PositionChanges>>, ReadError> {
        let ring = self.ring.read();
        if position > ring.floor() {
            return Ok(ring.at(position).cloned());
        }
        drop(ring);
        Ok(self.changes(position)?.at(position, describe)?.map(Arc::new))
    }

    /// Notes a failed read: the projector then makes the views again.
    fn note_failure<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        read.inspect_err(|error| {
            if let Some(changes) = self.changes {
                changes.report_failure(error);
            }
        })
    }

    fn changes(&self, position: Position) -> Result<&ChangeLog, ReadError> {
        self.changes.ok_or(ReadError::Damaged { from: position, reason: "no change log holds the position" })
    }

    /// Completes a connection with the fields that the record of another position holds. The newest state has them for
    /// most connections.
    fn describe(&self, connection: &mut Connection) -> Result<(), ReadError> {
        let position = connection.described_at.0;
        let realm = self.realms.read().get(&connection.realm).cloned();
        let id = Id::of(&connection.id);
        let newest = realm.and_then(|state| {
            let state = state.read();
            state.connection(&id, Position::MAX).cloned()
        });
        if let Some(newest) = newest.filter(|newest| newest.described_at == connection.described_at) {
            connection.describe_as(&newest);
            return Ok(());
        }
        let in_ring = self.ring.read().at(position).cloned();
        let is_described = match in_ring.as_ref().and_then(|changes| changes.description_of(connection)) {
            Some(described) => {
                connection.describe_as(described);
                true
            }
            None => self.changes(position)?.describe(connection)?,
        };
        let reason = "it does not have the connection that it should";
        if is_described { Ok(()) } else { Err(ReadError::Damaged { from: position, reason }) }
    }

    /// Returns the changes of a position, and reads only its own record. A connection may lack the fields that another
    /// record holds.
    pub fn undescribed(&self, position: Position) -> Result<Option<Arc<PositionChanges>>, ReadError> {
        self.note_failure(self.read(position, &|_| Ok(())))
    }

    /// Returns the changes after a position and up to another, in order, at most `count_max`. May return fewer if they
    /// are not in memory.
    pub fn between(&self, after: Position, to: Cursor, count_max: usize) -> Result<ChangeRange, ReadError> {
        let in_memory = self.ring.read().between(after, to, count_max);
        if let Some(stretch) = in_memory {
            return Ok(stretch);
        }
        let describe = |connection: &mut Connection| self.describe(connection);
        let read = self.changes(after + 1).and_then(|changes| changes.between(after, to, count_max, &describe));
        self.note_failure(read)
    }

    /// Returns the export of a slot.
    pub fn resolve(&self, realm: &Realm, task_id: &Id, slot: &ExportSlot) -> Result<Arc<Export>, ReadError> {
        match slot {
            ExportSlot::Open(export) => Ok(export.clone()),
            ExportSlot::Settled(changed_at) => self.export(realm, task_id, *changed_at),
        }
    }

    /// Returns an export as the event at a position left it.
    fn export(&self, realm: &Realm, task_id: &Id, changed_at: Position) -> Result<Arc<Export>, ReadError> {
        let changes = self.undescribed(changed_at)?.filter(|changes| changes.realm == *realm);
        let found = changes.and_then(|changes| {
            changes.changes.iter().find_map(|change| match change {
                Change::Export { current, .. } if Id::of(&current.export.task_id) == *task_id => {
                    Some(current.export.clone())
                }
                Change::Connection { .. } | Change::Export { .. } => None,
            })
        });
        let reason = "it does not have the export that it should";
        self.note_failure(found.ok_or(ReadError::Damaged { from: changed_at, reason }))
    }
}
