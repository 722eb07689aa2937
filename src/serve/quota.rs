//! An amount of something (bytes, streams, watches) that all callers share, with a bound for each of them. It is
//! reserved before it is used. Knows nothing of what is counted.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::caller::Caller;

/// The quota, or the caller's share of it, is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuotaFull;

pub(super) struct Quota {
    /// Of all callers together.
    total: usize,
    /// Of one caller.
    share: usize,
    used: Mutex<Used>,
    /// Signals that something was given back.
    freed: Notify,
}

/// A caller without a reservation has no entry.
#[derive(Default)]
struct Used {
    total: usize,
    by_caller: HashMap<Caller, usize>,
}

/// A part of the quota. It is given back when dropped.
pub(super) struct Reservation {
    quota: Arc<Quota>,
    caller: Caller,
    amount: usize,
}

impl Quota {
    pub fn new(total: usize, share: usize) -> Arc<Self> {
        Arc::new(Self { total, share, used: Mutex::default(), freed: Notify::new() })
    }

    /// Of one caller.
    pub fn share(&self) -> usize {
        self.share
    }

    /// As [`Self::reserve`], once there is room for it. An amount over the share waits for ever.
    pub async fn wait_for(self: &Arc<Self>, caller: Caller, amount: usize) -> Reservation {
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Ok(reservation) = self.reserve(caller, amount) {
                return reservation;
            }
            freed.await;
        }
    }

    pub fn reserve(self: &Arc<Self>, caller: Caller, amount: usize) -> Result<Reservation, QuotaFull> {
        let mut reservation = Reservation::empty(self, caller);
        reservation.resize(amount)?;
        Ok(reservation)
    }

    /// What all callers have reserved.
    pub fn used(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    pub fn empty(quota: &Arc<Quota>, caller: Caller) -> Self {
        Self { quota: quota.clone(), caller, amount: 0 }
    }

    /// Keeps the old amount if the new one does not fit. A smaller amount always fits.
    pub fn resize(&mut self, amount: usize) -> Result<(), QuotaFull> {
        let quota = self.quota.clone();
        let mut used = quota.lock();
        let others = used.total - self.amount;
        let own = used.by_caller.get(&self.caller).copied().unwrap_or_default() - self.amount;
        let fits = others.saturating_add(amount) <= quota.total && own.saturating_add(amount) <= quota.share;
        if amount > self.amount && !fits {
            return Err(QuotaFull);
        }
        self.set(&mut used, amount);
        Ok(())
    }

    /// Gives all of it back. It can grow again.
    pub fn release(&mut self) {
        let quota = self.quota.clone();
        self.set(&mut quota.lock(), 0);
    }

    fn set(&mut self, used: &mut Used, amount: usize) {
        used.total = used.total - self.amount + amount;
        let own = used.by_caller.entry(self.caller).or_default();
        *own = *own - self.amount + amount;
        if *own == 0 {
            used.by_caller.remove(&self.caller);
        }
        if amount < self.amount {
            self.quota.freed.notify_waiters();
        }
        self.amount = amount;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake, Waker};

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

    #[test]
    fn what_waits_has_its_part_once_enough_is_given_back() {
        let quota = Quota::new(10, 6);
        let (mut first, second) = (quota.reserve(ONE, 6).unwrap(), quota.reserve(TWO, 4).unwrap());
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut waiting = pin!(quota.wait_for(ONE, 3));
        let mut poll = || waiting.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        drop(second);
        assert!(woken.0.swap(false, Ordering::SeqCst) && poll().is_pending(), "its caller's share is full");
        first.resize(3).unwrap();
        assert!(woken.0.load(Ordering::SeqCst) && poll().is_ready());
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
        assert_eq!((quota.used(), quota.lock().by_caller.len()), (0, 0));
    }
}
