//! What was, by position: the ring has the newest changes, the change log all before them.

use std::sync::{Arc, RwLock};

use super::changes::ChangeLog;
use super::entity::Realm;
use super::export::Export;
use super::id::Id;
use super::ring::{Change, PositionChanges, Ring, Stretch};
use super::state::Slot;
use crate::blocklog::ReadError;
use crate::event::Position;
use crate::token::ChainPrefix;

/// Cheap to make. Reads block.
#[derive(Clone, Copy)]
pub(super) struct Past<'a> {
    pub ring: &'a RwLock<Ring>,
    pub changes: Option<&'a ChangeLog>,
}

impl Past<'_> {
    /// What a position changed, if anything.
    pub fn at(&self, position: Position) -> Result<Option<Arc<PositionChanges>>, ReadError> {
        let ring = self.ring.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if position > ring.floor() {
            return Ok(ring.at(position).cloned());
        }
        drop(ring);
        let missing = ReadError::Damaged { from: position, reason: "no change log holds it" };
        Ok(self.changes.ok_or(missing)?.at(position)?.map(Arc::new))
    }

    /// The changes after a position and up to another, in order, at most so many; fewer, if they are not in memory.
    pub fn between(
        &self,
        after: Position,
        to: (Position, ChainPrefix),
        count_max: usize,
    ) -> Result<Stretch, ReadError> {
        let at_hand = self.ring.read().unwrap_or_else(std::sync::PoisonError::into_inner).between(after, to, count_max);
        let missing = ReadError::Damaged { from: after + 1, reason: "no change log holds it" };
        at_hand.map_or_else(|| self.changes.ok_or(missing)?.between(after, to.0, count_max), Ok)
    }

    /// The export that a slot stands for.
    pub fn resolve(&self, realm: &Realm, task_id: &Id, slot: &Slot) -> Result<Arc<Export>, ReadError> {
        match slot {
            Slot::Open(export) => Ok(export.clone()),
            Slot::Settled(changed_at) => self.export(realm, task_id, *changed_at),
        }
    }

    /// An export as the event at a position left it.
    fn export(&self, realm: &Realm, task_id: &Id, changed_at: Position) -> Result<Arc<Export>, ReadError> {
        let changes = self.at(changed_at)?.filter(|changes| changes.realm == *realm);
        let found = changes.and_then(|changes| {
            changes.changes.iter().find_map(|change| match change {
                Change::Export { current, .. } if Id::of(&current.export.task_id) == *task_id => {
                    Some(current.export.clone())
                }
                Change::Connection { .. } | Change::Export { .. } => None,
            })
        });
        let reason = "it does not have the export that it should";
        found.ok_or(ReadError::Damaged { from: changed_at, reason })
    }
}
