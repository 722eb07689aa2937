//! A quota of something (bytes, streams, watches) that all callers share, with a bound for each of them. It is reserved
//! before use. Knows nothing of the things counted.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::caller::Caller;

/// Error: the quota, or the caller's share of it, is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaFull;

pub struct Quota {
    /// Limit of all callers together.
    total: usize,
    /// Limit of one caller.
    share: usize,
    used: Mutex<Used>,
}

/// Reserved amounts. A caller without a reservation has no entry.
#[derive(Default)]
struct Used {
    total: usize,
    by_caller: HashMap<Caller, usize>,
    /// Waiting reservations, in order of arrival.
    waiting: VecDeque<WaitingReservation>,
}

struct WaitingReservation {
    caller: Caller,
    amount: usize,
    grant: oneshot::Sender<Reservation>,
}

/// A reserved part of the quota. Given back when dropped.
pub struct Reservation {
    quota: Arc<Quota>,
    caller: Caller,
    amount: usize,
}

impl Quota {
    pub fn new(total: usize, share: usize) -> Arc<Self> {
        Arc::new(Self { total, share, used: Mutex::default() })
    }

    /// Returns the limit of one caller.
    pub fn share(&self) -> usize {
        self.share
    }

    /// Like [`Self::reserve`], but waits until there is room. Reserves at most the share. First come, first served, but
    /// a caller whose share is full does not block other callers.
    pub async fn wait_for(self: &Arc<Self>, caller: Caller, amount: usize) -> Reservation {
        // Declared before the receiver, so it is dropped after the receiver has been closed.
        let _leaving = ServeOnDrop(self);
        let (grant, granted) = oneshot::channel();
        self.used.lock().waiting.push_back(WaitingReservation { caller, amount: amount.min(self.share), grant });
        self.serve_waiting();
        // The queue keeps the sender until it grants.
        granted.await.unwrap_or_else(|_| Reservation::empty(self, caller))
    }

    fn serve_waiting(self: &Arc<Self>) {
        // Grants that were not taken. Declared before the lock, so they are given back without it.
        let mut untaken = Vec::new();
        let mut used = self.used.lock();
        let mut waiting = std::mem::take(&mut used.waiting);
        let mut full = HashSet::new();
        while let Some(next) = waiting.pop_front() {
            let WaitingReservation { caller, amount, .. } = next;
            if next.grant.is_closed() {
                continue;
            }
            if full.contains(&caller) || used.of(caller) + amount > self.share {
                full.insert(caller);
                used.waiting.push_back(next);
            } else if used.total + amount > self.total {
                waiting.push_front(next);
                break;
            } else {
                used.change(caller, 0, amount);
                untaken.extend(next.grant.send(Reservation { quota: self.clone(), caller, amount }).err());
            }
        }
        used.waiting.append(&mut waiting);
    }

    pub fn reserve(self: &Arc<Self>, caller: Caller, amount: usize) -> Result<Reservation, QuotaFull> {
        let mut reservation = Reservation::empty(self, caller);
        reservation.resize(amount)?;
        Ok(reservation)
    }

    /// Returns the amount that all callers have reserved.
    pub fn used(&self) -> usize {
        self.used.lock().total
    }
}

impl Reservation {
    pub fn empty(quota: &Arc<Quota>, caller: Caller) -> Self {
        Self { quota: quota.clone(), caller, amount: 0 }
    }

    /// Changes the amount. Keeps the old one if the new one does not fit. A smaller amount always fits.
    pub fn resize(&mut self, amount: usize) -> Result<(), QuotaFull> {
        let mut used = self.quota.used.lock();
        let others = used.total - self.amount;
        let own = used.of(self.caller) - self.amount;
        let fits = others.saturating_add(amount) <= self.quota.total && own.saturating_add(amount) <= self.quota.share;
        if amount > self.amount && !fits {
            return Err(QuotaFull);
        }
        used.change(self.caller, self.amount, amount);
        drop(used);
        if std::mem::replace(&mut self.amount, amount) > amount {
            self.quota.serve_waiting();
        }
        Ok(())
    }

    /// Gives the whole amount back. The reservation can grow again.
    pub fn release(&mut self) {
        let amount = std::mem::take(&mut self.amount);
        if amount == 0 {
            return;
        }
        self.quota.used.lock().change(self.caller, amount, 0);
        self.quota.serve_waiting();
    }
}

impl Used {
    fn of(&self, caller: Caller) -> usize {
        self.by_caller.get(&caller).copied().unwrap_or_default()
    }

    fn change(&mut self, caller: Caller, from: usize, to: usize) {
        self.total = self.total - from + to;
        let own = self.by_caller.entry(caller).or_default();
        *own = *own - from + to;
        if *own == 0 {
            self.by_caller.remove(&caller);
        }
    }
}

/// Serves the queue when a waiting reservation is dropped: those behind it may be next.
struct ServeOnDrop<'a>(&'a Arc<Quota>);

impl Drop for ServeOnDrop<'_> {
    fn drop(&mut self) {
        self.0.serve_waiting();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;

    const ONE: Caller = Caller::User(1);
    const TWO: Caller = Caller::User(2);

    #[test]
    fn neither_the_total_nor_a_share_is_exceeded() {
        let quota = Quota::new(10, 6);
        let mut first = quota.reserve(ONE, 4).unwrap();
        assert!(quota.reserve(ONE, 3).is_err());
        let second = quota.reserve(TWO, 6).unwrap();
        assert_eq!(first.resize(5), Err(QuotaFull));
        assert_eq!(quota.used(), 10);
        drop(second);
        assert_eq!((first.resize(6), first.resize(7)), (Ok(()), Err(QuotaFull)));
        assert_eq!(quota.used(), 6);
    }

    /// Returns the reservation, if it has been granted.
    fn granted(waiting: &mut (impl Future<Output = Reservation> + Unpin), woken: &Arc<Woken>) -> Option<Reservation> {
        let waker = Waker::from(woken.clone());
        match Pin::new(waiting).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(reservation) => Some(reservation),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_waiting_reservation_is_granted_once_enough_is_returned() {
        let quota = Quota::new(10, 6);
        let mut first = quota.reserve(ONE, 6).unwrap();
        let second = quota.reserve(TWO, 4).unwrap();
        let woken = Arc::new(Woken::default());
        let mut waiting = pin!(quota.wait_for(ONE, 3));
        assert!(granted(&mut waiting, &woken).is_none());
        drop(second);
        assert!(granted(&mut waiting, &woken).is_none(), "its caller's share is full");
        first.resize(3).unwrap();
        assert!(woken.0.load(Ordering::SeqCst) && granted(&mut waiting, &woken).is_some());
    }

    #[test]
    fn a_small_reservation_does_not_overtake_a_large_one() {
        let quota = Quota::new(10, 6);
        let woken = Arc::new(Woken::default());
        let first = quota.reserve(ONE, 2).unwrap();
        let second = quota.reserve(TWO, 5).unwrap();
        let mut much = pin!(quota.wait_for(ONE, 6));
        let mut little = pin!(quota.wait_for(ONE, 1));
        let mut most = pin!(quota.wait_for(Caller::User(3), 6));
        let mut least = pin!(quota.wait_for(TWO, 1));
        for waiting in [&mut much as &mut (dyn Future<Output = _> + Unpin), &mut little, &mut most, &mut least] {
            assert!(granted(&mut &mut *waiting, &woken).is_none());
        }
        drop(second);
        let most = granted(&mut most, &woken).expect("its caller is not in the way of others");
        let least = granted(&mut least, &woken).expect("there is room");
        assert!(granted(&mut little, &woken).is_none(), "behind what needs more");
        drop((first, least));
        assert!(granted(&mut much, &woken).is_none(), "there is no room");
        drop(most);
        let much = granted(&mut much, &woken).expect("it is the first");
        assert!(granted(&mut little, &woken).is_none(), "the share is full");
        drop(much);
        assert!(granted(&mut little, &woken).is_some());
    }

    #[test]
    fn an_abandoned_wait_blocks_no_other() {
        let quota = Quota::new(10, 6);
        let woken = Arc::new(Woken::default());
        let _held = quota.reserve(ONE, 4).unwrap();
        let mut little = Box::pin(quota.wait_for(ONE, 2));
        {
            let mut much = pin!(quota.wait_for(ONE, 6));
            assert!(granted(&mut much, &woken).is_none() && granted(&mut little, &woken).is_none());
        }
        assert!(woken.0.load(Ordering::SeqCst));
        drop(little);
        assert_eq!(quota.used(), 4, "what was granted and not taken is given back");
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn all_that_is_reserved_is_given_back() {
        let quota = Quota::new(10, 10);
        let mut reservation = quota.reserve(ONE, 10).unwrap();
        reservation.resize(2).unwrap();
        assert_eq!(quota.used(), 2);
        drop(reservation);
        assert_eq!((quota.used(), quota.used.lock().by_caller.len()), (0, 0));
    }
}
