//! The seats of a listener: each open connection holds one. When all are taken, the connection that has kept its seat
//! longest without a success gives way to the next one. Knows neither sockets nor HTTP.
//!
//! A connection may be evicted while cleat waits for its peer: for the rest of a request, for the next request, or for
//! the peer to take an answer. It is never evicted while its request is complete and not yet answered, nor while it is
//! new and cleat has not read its first bytes. Only a successful answer renews a connection's place in the order of
//! eviction, so cheap refused requests do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::observer::Observer;

pub(super) struct HttpSeats {
    capacity: usize,
    free: Arc<Semaphore>,
    evictable: Mutex<Evictable>,
    /// Signals that a connection has become evictable.
    changed: Notify,
    observer: Observer,
}

/// The connections that wait for their peers, by ticket: the lowest goes first.
#[derive(Default)]
struct Evictable {
    next_ticket: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// The state of an open connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SeatPhase {
    /// No byte of a request has arrived since the last answer.
    Idle,
    /// Waits for the head of a request.
    Head,
    /// Waits for the body of a request.
    Body,
    /// The request is complete; its answer is being made or written.
    Answer,
}

/// A connection's seat, free again when this is dropped. Its phase decides whether the connection may be evicted.
pub(super) struct HttpPermit {
    seats: Arc<HttpSeats>,
    turn: Mutex<SeatTurn>,
    evicted: Arc<Notify>,
    _seat: Option<OwnedSemaphorePermit>,
}

struct SeatTurn {
    ticket: u64,
    phase: SeatPhase,
    /// The first bytes have not all been read.
    is_new: bool,
    /// The handler has answered, and the answer is not written yet.
    answered: bool,
    /// A write waits for the peer to read.
    write_blocked: bool,
}

impl HttpSeats {
    pub fn new(capacity: u32, observer: Observer) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(capacity as usize));
        Arc::new(Self {
            capacity: capacity as usize,
            free,
            evictable: Mutex::default(),
            changed: Notify::new(),
            observer,
        })
    }

    /// Takes a seat for an accepted connection. Evicts one connection if none is free, and waits if none may be
    /// evicted. At most one task calls this at a time.
    pub async fn take(self: &Arc<Self>) -> HttpPermit {
        let seat = loop {
            if let Ok(seat) = self.free.clone().try_acquire_owned() {
                break Some(seat);
            }
            let freed = self.free.clone().acquire_owned();
            if self.evict_first() {
                // The evicted connection ends at once. The semaphore is never closed.
                break freed.await.ok();
            }
            tokio::select! {
                seat = freed => break seat.ok(),
                () = self.changed.notified() => {}
            }
        };
        self.observer.count_opened();
        let ticket = self.evictable.lock().take_ticket();
        let turn = SeatTurn { ticket, phase: SeatPhase::Head, is_new: true, answered: false, write_blocked: false };
        HttpPermit { seats: self.clone(), turn: Mutex::new(turn), evicted: Arc::default(), _seat: seat }
    }

    fn evict_first(&self) -> bool {
        let Some((_, evicted)) = self.evictable.lock().waiting.pop_first() else { return false };
        evicted.notify_one();
        self.observer.count_evicted();
        true
    }

    /// Whether fewer than half of the seats (rounded down) are free.
    fn is_crowded(&self) -> bool {
        self.free.available_permits() < self.capacity / 2
    }
}

impl Evictable {
    fn take_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }
}

impl HttpPermit {
    /// Resolves when another connection needs this one's seat.
    pub async fn wait_for_eviction(&self) {
        self.evicted.notified().await;
    }

    /// Records that bytes of a request have arrived.
    pub fn record_bytes(&self) {
        self.change(|turn| {
            if turn.phase == SeatPhase::Idle {
                turn.phase = SeatPhase::Head;
            }
        });
    }

    /// Records that all bytes that have arrived are read, and the request is not complete.
    pub fn record_read_blocked(&self) {
        if self.turn.lock().is_new {
            self.change(|turn| turn.is_new = false);
        }
    }

    /// Records that the head of a request is complete.
    pub fn record_head(&self) {
        self.change(|turn| turn.phase = SeatPhase::Body);
    }

    /// Records that the request is complete.
    pub fn record_request(&self) {
        self.change(|turn| {
            turn.phase = SeatPhase::Answer;
            turn.is_new = false;
        });
    }

    /// Records that the handler has answered. Only a success moves the connection to the end of the order of eviction.
    pub fn record_answer(&self, success: bool) {
        self.change(|turn| {
            turn.answered = true;
            if success {
                turn.ticket = self.seats.evictable.lock().take_ticket();
            }
        });
    }

    /// Records that all output is written.
    pub fn record_flush(&self) {
        self.change(|turn| {
            if std::mem::take(&mut turn.answered) {
                turn.phase = SeatPhase::Idle;
            }
        });
    }

    pub fn set_write_blocked(&self, blocked: bool) {
        self.change(|turn| turn.write_blocked = blocked);
    }

    pub fn is_idle(&self) -> bool {
        self.turn.lock().phase == SeatPhase::Idle
    }

    /// Whether a request has begun to arrive, and its head is not complete.
    pub fn reads_head(&self) -> bool {
        self.turn.lock().phase == SeatPhase::Head
    }

    pub fn is_crowded(&self) -> bool {
        self.seats.is_crowded()
    }

    pub fn observer(&self) -> &Observer {
        &self.seats.observer
    }

    fn change(&self, change: impl FnOnce(&mut SeatTurn)) {
        let mut turn = self.turn.lock();
        let ticket = turn.ticket;
        let waited = turn.waits_for_peer();
        change(&mut turn);
        let waits = turn.waits_for_peer();
        if waits == waited && (turn.ticket == ticket || !waits) {
            return;
        }
        let mut evictable = self.seats.evictable.lock();
        evictable.waiting.remove(&ticket);
        if waits && evictable.waiting.insert(turn.ticket, self.evicted.clone()).is_none() {
            self.seats.changed.notify_one();
        }
    }
}

impl Drop for HttpPermit {
    fn drop(&mut self) {
        let ticket = self.turn.lock().ticket;
        self.seats.evictable.lock().waiting.remove(&ticket);
        self.seats.observer.count_closed();
    }
}

impl SeatTurn {
    fn waits_for_peer(&self) -> bool {
        match self.phase {
            SeatPhase::Idle | SeatPhase::Head | SeatPhase::Body => !self.is_new,
            SeatPhase::Answer => self.write_blocked,
        }
    }
}
