//! All state at one position. Whoever holds it reads without a lock, for as long as they like.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;

use super::apply::apply;
use super::entity::Realm;
use super::ring::{PositionChanges, Ring};
use super::state::State;
use crate::event::{ApiMode, Event, Hash, Position};

/// Cheap to clone; clones share what is equal.
#[derive(Clone, PartialEq, Eq)]
pub struct Views {
    /// Every event up to here is applied. 0: none.
    position: Position,
    chain: Hash,
    realms: OrdMap<Realm, State>,
    /// What a realm holds that no event has touched.
    nothing: State,
    ring: Ring,
}

impl Views {
    /// Before the first event. The newest `ring_len` positions that change something are kept for those who follow.
    pub fn new(ring_len: usize) -> Self {
        Self {
            position: 0,
            chain: Hash::default(),
            realms: OrdMap::new(),
            nothing: State::default(),
            ring: Ring::new(ring_len),
        }
    }

    pub fn position(&self) -> Position {
        self.position
    }

    /// The hash chain's value at the position; zeros at 0.
    pub fn chain(&self) -> Hash {
        self.chain
    }

    pub fn state(&self, realm: &Realm) -> &State {
        self.realms.get(realm).unwrap_or(&self.nothing)
    }

    /// A realm by its parts; known ones share their name in memory.
    fn realm(&self, tenant: &str, mode: ApiMode) -> Realm {
        let named = Realm { tenant: tenant.into(), mode };
        self.realms.get_key_value(&named).map_or(named, |(known, _)| known.clone())
    }

    /// Of all realms.
    pub fn connection_count(&self) -> usize {
        self.realms.values().map(State::connection_count).sum()
    }

    /// Of all realms.
    pub fn export_count(&self) -> usize {
        self.realms.values().map(State::export_count).sum()
    }

    /// The changes after a position, in order, at most so many. None: it is too long ago to tell.
    pub fn changes_after(&self, position: Position, count_max: usize) -> Option<Vec<Arc<PositionChanges>>> {
        self.ring.after(position, count_max)
    }

    /// The hash chain's value at a position, if it is still known here.
    pub fn chain_at(&self, position: Position) -> Option<Hash> {
        if position == self.position {
            return Some(self.chain);
        }
        self.ring.at(position).map(|changes| changes.chain)
    }

    /// Goes on to `event`, which must be the next one.
    pub fn advance(&mut self, event: &Event) {
        let (position, chain) = (event.position, event.chain);
        (self.position, self.chain) = (position, chain);
        let Some(mode) = event.delivery.mode.applies_to() else { return };
        let realm = self.realm(&event.delivery.tenant, mode);
        let changes = apply(self.state(&realm), &realm, event);
        if changes.is_empty() {
            return;
        }
        let state = self.realms.entry(realm.clone()).or_default();
        for change in &changes {
            state.put(change);
        }
        self.ring.push(PositionChanges { position, chain, realm, changes });
    }
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").field("position", &self.position).finish_non_exhaustive()
    }
}
