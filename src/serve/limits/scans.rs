//! Scans: work that looks at many entities or reads the disk for long. Bounds how many run at once, in all and for one
//! caller, and stops a scan when its caller has gone. Knows nothing of the data scanned.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::caller::Caller;
use super::quota::Quota;
use crate::serve::refusal::Refusal;

/// Maximum time that a scan waits before it begins.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Memory that one scan may hold while it runs: a page and its last row.
const SCAN_BYTES: usize = 1536 * 1024;

pub struct Scans {
    /// Three places per core: some scans wait for the disk, and two callers never hold all.
    all: Arc<Semaphore>,
    /// Places of one caller: one per core.
    share: usize,
    by_caller: Mutex<HashMap<Caller, Weak<Semaphore>>>,
    inflight: Arc<Quota>,
    wait_max: Duration,
}

/// Place of a scan. Free again when dropped.
pub struct ScanPlace {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Flag: whether a scan's caller has gone.
#[derive(Clone, Default)]
pub struct Cancellation(Arc<AtomicBool>);

/// Cancels when dropped.
struct CancelOnDrop(Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Cancellation {
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Scans {
    pub fn new(inflight: Arc<Quota>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self::with(inflight, cores, WAIT_MAX)
    }

    fn with(inflight: Arc<Quota>, cores: usize, wait_max: Duration) -> Self {
        let all = Arc::new(Semaphore::new(3 * cores));
        Self { all, share: cores, by_caller: Mutex::default(), inflight, wait_max }
    }

    /// Runs a scan on a thread that may block, once there is a place for it. The scan must end early when it is
    /// cancelled: no caller waits for its result any more.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        caller: Caller,
        scan: impl FnOnce(&Cancellation) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let scans = self.clone();
        let run = independently(async move {
            let place = scans.take_place(caller).await?;
            // Held until the scan has ended. The answer made of its result is charged by its own size.
            let bytes = scans.inflight.reserve(caller, SCAN_BYTES).map_err(|_| Refusal::InflightBytesFull)?;
            let cancel = CancelOnDrop(Cancellation::default());
            let cancellation = cancel.0.clone();
            at_place(place, move || (scan(&cancellation), bytes)).await
        });
        let (result, _bytes) = run.await?;
        Ok(result)
    }

    /// Runs a part of a watch on a thread that may block. Waits for its turn without a time limit: a watch that is slow
    /// under load is better than one that ends.
    pub async fn take_turn<T: Send + 'static>(
        self: &Arc<Self>,
        caller: Caller,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let scans = self.clone();
        independently(async move {
            let place = scans.acquire(caller).await.map_err(|_| Refusal::Internal)?;
            at_place(place, work).await
        })
        .await
    }

    /// Takes a place for a scan that the calling code runs itself.
    pub async fn take_place(&self, caller: Caller) -> Result<ScanPlace, Refusal> {
        let place = timeout(self.wait_max, self.acquire(caller)).await.map_err(|_| Refusal::TooManyScans)?;
        place.map_err(|_| Refusal::Internal)
    }

    /// Takes the caller's own place first: a caller that waits for one of its places blocks no other caller.
    async fn acquire(&self, caller: Caller) -> Result<ScanPlace, AcquireError> {
        let own = self.of_caller(caller).acquire_owned().await?;
        Ok(ScanPlace { _all: self.all.clone().acquire_owned().await?, _own: own })
    }

    fn of_caller(&self, caller: Caller) -> Arc<Semaphore> {
        let mut by_caller = self.by_caller.lock();
        if let Some(places) = by_caller.get(&caller).and_then(Weak::upgrade) {
            return places;
        }
        by_caller.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.share));
        by_caller.insert(caller, Arc::downgrade(&places));
        places
    }
}

/// Runs work on a thread that may block. The place becomes free when the work has ended, not when its caller has gone.
async fn at_place<T: Send + 'static>(
    place: ScanPlace,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    off_runtime(move || {
        let result = work();
        drop(place);
        result
    })
    .await
}

/// Runs work in a task of its own, so that it goes on while the returned future is not polled. The stream of a watch is
/// not polled while its reader takes nothing, and others wait for the resources that the work holds. Dropping the
/// future aborts the task, but not a thread that it waits for.
pub async fn independently<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    AbortOnDropHandle::new(tokio::spawn(work)).await.map_err(|_| Refusal::Internal)?
}

/// Yields, so that the messages a stream has encoded are sent first. The stream continues only when its reader takes
/// them: nothing is read from disk for a reader that takes nothing.
pub async fn yield_to_sender() {
    tokio::task::yield_now().await;
}

/// Runs work that blocks, or that keeps a thread busy for long, outside the runtime's threads.
pub async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Internal)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::task::Poll;

    use super::*;

    const ONE: Caller = Caller::User(1);
    const TWO: Caller = Caller::User(2);
    const LONG: Duration = Duration::from_secs(60);

    fn scans(cores: usize, wait_max: Duration) -> Arc<Scans> {
        Arc::new(Scans::with(Quota::new(usize::MAX, usize::MAX), cores, wait_max))
    }

    /// Starts a scan that runs until the sender is dropped.
    async fn begin_scan(scans: &Arc<Scans>, caller: Caller) -> SyncSender<()> {
        let (hold, held): (SyncSender<()>, Receiver<()>) = sync_channel(0);
        let (begin, has_begun) = tokio::sync::oneshot::channel();
        let scans = scans.clone();
        tokio::spawn(async move {
            let scan = move |_: &Cancellation| {
                begin.send(()).unwrap();
                held.recv().unwrap_err();
            };
            scans.run(caller, scan).await.unwrap();
        });
        has_begun.await.unwrap();
        hold
    }

    #[tokio::test]
    async fn a_caller_has_no_more_scans_than_its_share() {
        let scans = scans(1, Duration::from_millis(50));
        let running = begin_scan(&scans, ONE).await;
        let refused = scans.run(ONE, |_| ()).await;
        assert!(matches!(refused, Err(Refusal::TooManyScans)));
        scans.run(TWO, |_| ()).await.expect("another caller has places of its own");
        drop(running);
        let waited = Arc::new(Scans { wait_max: LONG, ..Arc::into_inner(wait_until_idle(scans).await).unwrap() });
        waited.run(ONE, |_| ()).await.unwrap();
    }

    /// Waits until no task uses the scans any more.
    async fn wait_until_idle(scans: Arc<Scans>) -> Arc<Scans> {
        while Arc::strong_count(&scans) > 1 {
            tokio::task::yield_now().await;
        }
        scans
    }

    #[tokio::test]
    async fn there_are_no_more_scans_than_all_may_have() {
        let scans = scans(1, Duration::from_millis(50));
        let _first = begin_scan(&scans, ONE).await;
        let _second = begin_scan(&scans, TWO).await;
        let _third = begin_scan(&scans, Caller::User(3)).await;
        let refused = scans.run(Caller::User(4), |_| ()).await;
        assert!(matches!(refused, Err(Refusal::TooManyScans)));
    }

    #[tokio::test]
    async fn a_turn_that_nobody_polls_keeps_no_place() {
        let scans = scans(1, LONG);
        let running = begin_scan(&scans, ONE).await;
        let mut parked = pin!(scans.take_turn(ONE, || ()));
        let polled = poll_fn(|context| Poll::Ready(parked.as_mut().poll(context).is_pending())).await;
        assert!(polled, "it waits for its turn");
        drop(running);
        timeout(LONG, scans.take_turn(ONE, || ())).await.expect("its turn is over").unwrap();
    }

    #[tokio::test]
    async fn a_scan_is_cancelled_when_its_caller_has_gone() {
        let scans = scans(1, LONG);
        let (begin, has_begun) = tokio::sync::oneshot::channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        let scan = move |cancellation: &Cancellation| {
            begin.send(()).unwrap();
            while !cancellation.is_cancelled() {
                std::thread::yield_now();
            }
            end.send(()).unwrap();
        };
        tokio::select! {
            _ = scans.run(ONE, scan) => panic!("it ends only when it is cancelled"),
            begun = has_begun => begun.unwrap(),
        }
        ended.await.unwrap();
        scans.run(ONE, |_| ()).await.unwrap();
    }
}
