//! The memory for all requests until they are in the log or refused. It is reserved before it is allocated.
//!
//! Small bodies have a share of their own, so large ones never displace them. When a share is full, the reservation
//! that has waited longest for the rest of its body is revoked: such a body is not verified yet. A complete body keeps
//! its reservation.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::outcome::WebhookRefusal;
use crate::config::REQUEST_BYTES;
use crate::metrics::Gauge;

/// Maximum capacity of a body in the small share. `config.toml` documents it.
pub(super) const SMALL_BODY_BYTES: usize = 16 * 1024;

pub(super) struct InflightBudget {
    small: Arc<Share>,
    large: Arc<Share>,
    next_ticket: Mutex<u64>,
}

struct Share {
    limit: u64,
    state: Mutex<BudgetState>,
    freed: Notify,
    shown: Gauge,
}

#[derive(Default)]
struct BudgetState {
    used: u64,
    /// The part of `used` that revoked reservations have not given back yet.
    leaving: u64,
    /// Reservations of incomplete bodies, by ticket: the lowest has waited longest.
    incomplete: BTreeMap<u64, Incomplete>,
}

struct Incomplete {
    bytes: u64,
    revoked: Arc<Notify>,
}

/// The reservation of one request. Released when dropped.
pub(super) struct InflightReservation {
    share: Arc<Share>,
    large: Arc<Share>,
    ticket: u64,
    bytes: u64,
    revoked: Arc<Notify>,
    complete: bool,
}

impl InflightBudget {
    pub(super) fn new(limit: u64, shown: &Gauge) -> Self {
        let share =
            |limit| Arc::new(Share { limit, state: Mutex::default(), freed: Notify::new(), shown: shown.clone() });
        Self { small: share(limit / 2), large: share(limit - limit / 2), next_ticket: Mutex::new(0) }
    }

    /// Reserves memory for a request before its body, which announces `announced` bytes, or 0.
    pub(super) async fn reserve(&self, announced: usize) -> Result<InflightReservation, WebhookRefusal> {
        let share = if announced > SMALL_BODY_BYTES { &self.large } else { &self.small };
        let mut reservation = InflightReservation {
            share: share.clone(),
            large: self.large.clone(),
            ticket: self.take_ticket(),
            bytes: 0,
            revoked: Arc::default(),
            complete: false,
        };
        share.take(&mut reservation, REQUEST_BYTES.as_u64()).await?;
        Ok(reservation)
    }

    fn take_ticket(&self) -> u64 {
        let mut next = self.next_ticket.lock();
        *next += 1;
        *next
    }
}

impl Share {
    /// Adds bytes to a reservation of this share. Revokes older ones of incomplete bodies if there is no room.
    async fn take(&self, reservation: &mut InflightReservation, bytes: u64) -> Result<(), WebhookRefusal> {
        // Most find room at once, and need no notification.
        let mut has_taken = self.try_take(reservation, bytes)?;
        while !has_taken {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            has_taken = self.try_take(reservation, bytes)?;
            if !has_taken {
                freed.await;
            }
        }
        Ok(())
    }

    /// Returns whether there was room. If not, revokes the older reservations that must make room.
    fn try_take(&self, reservation: &mut InflightReservation, bytes: u64) -> Result<bool, WebhookRefusal> {
        let mut state = self.state.lock();
        if reservation.bytes > 0 && !state.incomplete.contains_key(&reservation.ticket) {
            return Err(WebhookRefusal::Overloaded);
        }
        if state.used + bytes > self.limit {
            state.make_room(self.limit, bytes, reservation.ticket)?;
            return Ok(false);
        }
        state.used += bytes;
        self.shown.inc_by(bytes);
        reservation.bytes += bytes;
        let incomplete = Incomplete { bytes: reservation.bytes, revoked: reservation.revoked.clone() };
        state.incomplete.insert(reservation.ticket, incomplete);
        Ok(true)
    }
}

impl BudgetState {
    /// Revokes reservations older than `ticket` until `bytes` will fit.
    fn make_room(&mut self, limit: u64, bytes: u64, ticket: u64) -> Result<(), WebhookRefusal> {
        while self.used - self.leaving + bytes > limit {
            let oldest = self.incomplete.first_entry().filter(|oldest| *oldest.key() < ticket);
            let Incomplete { bytes, revoked } = oldest.ok_or(WebhookRefusal::Overloaded)?.remove();
            self.leaving += bytes;
            revoked.notify_one();
        }
        Ok(())
    }
}

impl InflightReservation {
    /// Reserves a buffer of `capacity` bytes in place of one of `held`. Moves the reservation to the share of large
    /// bodies once the buffer is too large for the small one.
    pub(super) async fn grow(&mut self, held: usize, capacity: usize) -> Result<(), WebhookRefusal> {
        let share = self.share.clone();
        if capacity <= SMALL_BODY_BYTES || Arc::ptr_eq(&share, &self.large) {
            return share.take(self, (capacity - held) as u64).await;
        }
        let mut moved = Self {
            share: self.large.clone(),
            large: self.large.clone(),
            ticket: self.ticket,
            bytes: 0,
            revoked: self.revoked.clone(),
            complete: false,
        };
        self.large.take(&mut moved, REQUEST_BYTES.as_u64() + capacity as u64).await?;
        // Releases the reservation in the small share.
        *self = moved;
        Ok(())
    }

    /// Notified when a newer request needs the room.
    pub(super) fn revoked(&self) -> Arc<Notify> {
        self.revoked.clone()
    }

    /// Marks the body as whole: it cannot be revoked any more. An error if it has been revoked.
    pub(super) fn complete(&mut self) -> Result<(), WebhookRefusal> {
        self.complete = self.share.state.lock().incomplete.remove(&self.ticket).is_some();
        if self.complete { Ok(()) } else { Err(WebhookRefusal::Overloaded) }
    }
}

impl Drop for InflightReservation {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut state = self.share.state.lock();
        let revoked = !self.complete && state.incomplete.remove(&self.ticket).is_none();
        if revoked {
            state.leaving -= self.bytes;
        }
        state.used -= self.bytes;
        self.share.shown.dec_by(self.bytes);
        drop(state);
        self.share.freed.notify_waiters();
    }
}
