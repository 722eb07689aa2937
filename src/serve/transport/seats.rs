//! Seats of connections: how many may be open, in all and of one caller, and which one is closed when they run out.
//! Knows nothing of sockets, and of streams only their number.
//!
//! A connection without a stream is idle. When an ordinary seat is missing, the longest idle connection of the caller
//! with the most gives way. A connection that finds no ordinary seat gets one of the reserve, on which only the
//! reserved methods are served.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::serve::limits::Caller;

/// Maximum number of connections. Further ones are closed at once, which leaves file descriptors for the webhooks.
pub const CONNECTIONS_MAX: usize = 256;
const BOUNDS: SeatBounds =
    SeatBounds { ordinary: CONNECTIONS_MAX - 16, ordinary_share: 64, reserve: 16, reserve_share: 5 };

#[derive(Clone, Copy)]
struct SeatBounds {
    ordinary: usize,
    /// Ordinary seats of one caller. Many services may share a loopback address, and each needs one connection.
    ordinary_share: usize,
    reserve: usize,
    reserve_share: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SeatKind {
    Ordinary,
    Reserve,
}

pub(super) struct GrpcSeats {
    bounds: SeatBounds,
    table: Mutex<SeatTable>,
}

#[derive(Default)]
struct SeatTable {
    next: u64,
    taken: BTreeMap<u64, TakenSeat>,
}

struct TakenSeat {
    caller: Caller,
    kind: SeatKind,
    streams: usize,
    /// Time at which the last stream ended, or the connection was opened.
    idle_since: Instant,
    evicted: Arc<Notify>,
}

/// Seat of an open connection. Free again when dropped.
pub(super) struct GrpcPermit {
    seats: Arc<GrpcSeats>,
    number: u64,
    pub caller: Caller,
    kind: SeatKind,
    evicted: Arc<Notify>,
}

impl GrpcSeats {
    pub fn new() -> Arc<Self> {
        Self::with(BOUNDS)
    }

    fn with(bounds: SeatBounds) -> Arc<Self> {
        Arc::new(Self { bounds, table: Mutex::default() })
    }

    /// Takes a seat. `None` if all seats that the caller may have are taken by connections with streams.
    pub fn take(self: &Arc<Self>, caller: Caller) -> Option<GrpcPermit> {
        let SeatBounds { ordinary, ordinary_share, reserve, reserve_share } = self.bounds;
        let mut table = self.table.lock();
        let kind = if table.make_room(SeatKind::Ordinary, caller, ordinary, ordinary_share) {
            SeatKind::Ordinary
        } else if table.make_room(SeatKind::Reserve, caller, reserve, reserve_share) {
            SeatKind::Reserve
        } else {
            return None;
        };
        let evicted = Arc::new(Notify::new());
        let number = table.next;
        table.next += 1;
        let taken = TakenSeat { caller, kind, streams: 0, idle_since: Instant::now(), evicted: evicted.clone() };
        table.taken.insert(number, taken);
        drop(table);
        Some(GrpcPermit { seats: self.clone(), number, caller, kind, evicted })
    }
}

impl SeatTable {
    /// Makes room for a connection, by evicting an idle one if necessary. Returns whether there is room.
    fn make_room(&mut self, kind: SeatKind, caller: Caller, total: usize, share: usize) -> bool {
        let mut by_caller: HashMap<Caller, usize> = HashMap::new();
        for taken in self.taken.values().filter(|taken| taken.kind == kind) {
            *by_caller.entry(taken.caller).or_default() += 1;
        }
        let own_is_full = by_caller.get(&caller).is_some_and(|own| *own >= share);
        if !own_is_full && by_caller.values().sum::<usize>() < total {
            return true;
        }
        let idle = self
            .taken
            .iter()
            .filter(|(_, taken)| taken.kind == kind && taken.streams == 0 && (!own_is_full || taken.caller == caller));
        let first = idle.min_by_key(|(_, taken)| {
            let of_its_caller = by_caller.get(&taken.caller).copied().unwrap_or_default();
            (Reverse(of_its_caller), taken.idle_since)
        });
        let Some(number) = first.map(|(number, _)| *number) else { return false };
        let Some(seat) = self.taken.remove(&number) else { return false };
        seat.evicted.notify_one();
        true
    }
}

impl GrpcPermit {
    /// Whether only reserved methods are served on the connection.
    pub fn is_reserve(&self) -> bool {
        self.kind == SeatKind::Reserve
    }

    pub fn open_stream(&self) {
        self.update(|taken| taken.streams += 1);
    }

    pub fn close_stream(&self) {
        self.update(|taken| {
            taken.streams -= 1;
            taken.idle_since = Instant::now();
        });
    }

    /// Returns when the seat is given to another connection.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Returns the time since which the connection has had no stream. `None` if it has one.
    pub fn idle_since(&self) -> Option<Instant> {
        let table = self.seats.table.lock();
        table.taken.get(&self.number).filter(|taken| taken.streams == 0).map(|taken| taken.idle_since)
    }

    /// Changes the connection's entry. An evicted connection has none.
    fn update(&self, change: impl FnOnce(&mut TakenSeat)) {
        if let Some(taken) = self.seats.table.lock().taken.get_mut(&self.number) {
            change(taken);
        }
    }
}

impl Drop for GrpcPermit {
    fn drop(&mut self) {
        self.seats.table.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Caller = Caller::User(1);
    const TWO: Caller = Caller::User(2);
    const THREE: Caller = Caller::User(3);
    const FOUR: SeatBounds = SeatBounds { ordinary: 4, ordinary_share: 3, reserve: 2, reserve_share: 1 };

    fn busy(seats: &Arc<GrpcSeats>, caller: Caller) -> GrpcPermit {
        let permit = seats.take(caller).unwrap();
        permit.open_stream();
        permit
    }

    async fn is_evicted(permit: &GrpcPermit) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, permit.evicted()).await.is_ok()
    }

    #[tokio::test]
    async fn a_caller_leaves_seats_to_others_and_to_the_reserve() {
        let seats = GrpcSeats::with(FOUR);
        let _own = [busy(&seats, ONE), busy(&seats, ONE), busy(&seats, ONE)];
        assert!(busy(&seats, ONE).is_reserve());
        let reserved = busy(&seats, ONE);
        assert!(reserved.is_reserve() && seats.take(ONE).is_none());
        let other = busy(&seats, TWO);
        assert!(!other.is_reserve());
        assert!(busy(&seats, THREE).is_reserve());
        drop(other);
        assert!(!busy(&seats, THREE).is_reserve());
    }

    #[tokio::test]
    async fn longest_idle_connection_of_the_greediest_caller_goes_first() {
        let seats = GrpcSeats::with(FOUR);
        let other = seats.take(TWO).unwrap();
        let first = seats.take(ONE).unwrap();
        let second = busy(&seats, ONE);
        let third = seats.take(ONE).unwrap();
        first.open_stream();
        first.close_stream();
        let newest = busy(&seats, THREE);
        assert!(!newest.is_reserve() && is_evicted(&third).await);
        assert!(!is_evicted(&first).await && !is_evicted(&second).await && !is_evicted(&other).await);
    }

    #[tokio::test]
    async fn a_caller_at_its_share_evicts_only_its_own_connections() {
        let seats = GrpcSeats::with(FOUR);
        let idle = seats.take(ONE).unwrap();
        let other = seats.take(TWO).unwrap();
        let _busy = [busy(&seats, ONE), busy(&seats, ONE)];
        let next = busy(&seats, ONE);
        assert!(!next.is_reserve() && is_evicted(&idle).await && !is_evicted(&other).await);
        // The end of an evicted connection does not free a seat twice.
        drop(idle);
        assert!(seats.take(ONE).unwrap().is_reserve());
    }

    #[tokio::test]
    async fn a_connection_is_idle_between_its_streams() {
        let seats = GrpcSeats::with(FOUR);
        let permit = seats.take(ONE).unwrap();
        assert!(permit.idle_since().is_some());
        permit.open_stream();
        assert!(permit.idle_since().is_none());
        permit.close_stream();
        assert!(permit.idle_since().is_some());
    }
}
