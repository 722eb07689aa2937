//! Owns rebuilds: makes new views from the log alone, on a separate thread, while the current ones serve. Knows nothing
//! of the views that serve.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::generation::{Generation, Keeping, ProjectionError};
use crate::event::Position;
use crate::log::Reader;
use crate::worker::Worker;

/// Distance to the head, in events, that the projector can fold itself between two publications.
const NEAR: u64 = 1000;

/// Handle that starts a rebuild and returns its progress. Cheap to clone.
#[derive(Clone)]
pub struct Rebuild(Arc<RebuildShared>);

/// The projector's end. No rebuild starts after [`Self::stop`].
pub(super) struct Rebuilder(Arc<RebuildShared>);

/// Both handles of a rebuild, and what comes out of it.
pub(super) struct RebuildEnds {
    pub rebuild: Rebuild,
    pub rebuilder: Rebuilder,
    /// Delivers each rebuilt generation.
    pub rebuilt: mpsc::Receiver<Box<Generation>>,
}

struct RebuildShared {
    reader: Reader,
    directory: PathBuf,
    keeping: Keeping,
    runtime: Handle,
    /// Set once the projector has opened its generation. Until then the directory belongs to the projector.
    opened: OnceLock<()>,
    running: Mutex<Option<Worker>>,
    stop: AtomicBool,
    /// Position that the rebuild has reached. `None` if nothing is being rebuilt.
    reached: watch::Sender<Option<Position>>,
    done: mpsc::Sender<Box<Generation>>,
}

impl RebuildEnds {
    pub fn new(reader: Reader, directory: PathBuf, keeping: Keeping, runtime: Handle) -> Self {
        let (done, rebuilt) = mpsc::channel(1);
        let shared = Arc::new(RebuildShared {
            reader,
            directory,
            keeping,
            runtime,
            opened: OnceLock::new(),
            running: Mutex::new(None),
            stop: AtomicBool::new(false),
            reached: watch::Sender::new(None),
            done,
        });
        Self { rebuild: Rebuild(shared.clone()), rebuilder: Rebuilder(shared), rebuilt }
    }
}

impl Rebuild {
    /// Starts a rebuild, unless one is running or the last one waits to be taken over.
    pub fn start(&self) -> std::io::Result<()> {
        let mut running = self.0.running.lock();
        if self.reached().is_some() || self.0.stop.load(Ordering::Acquire) {
            return Ok(());
        }
        // The last thread has handed over already, so this does not wait for the projector, which may itself wait for
        // the lock.
        join(running.take());
        self.0.reached.send_replace(Some(0));
        let shared = self.0.clone();
        let spawned = Worker::spawn("cleat-rebuild", move || {
            let made = catch_unwind(AssertUnwindSafe(|| shared.make())).unwrap_or(Err(ProjectionError::Panicked));
            match made {
                Ok(generation) => shared.hand_over(generation),
                Err(error) => tracing::error!(%error, "cannot rebuild the views; the present ones keep serving"),
            }
            shared.reached.send_replace(None);
        });
        if spawned.is_err() {
            self.0.reached.send_replace(None);
        }
        *running = Some(spawned?);
        Ok(())
    }

    /// Returns the position that the rebuild has reached. `None` if nothing is being rebuilt.
    pub fn reached(&self) -> Option<Position> {
        *self.0.reached.borrow()
    }
}

impl Rebuilder {
    /// Lets the projector open its generation while nothing is rebuilt, since both would create and remove the same
    /// directories. Ends a running rebuild and drops its result. A rebuild that is requested meanwhile starts
    /// afterwards.
    pub fn open_alone<T>(&self, rebuilt: &mut mpsc::Receiver<Box<Generation>>, open: impl FnOnce() -> T) -> T {
        // Rebuilds wait until the first call has opened.
        if self.0.opened.get().is_none() {
            let opened = open();
            self.0.opened.get_or_init(|| ());
            return opened;
        }
        let mut running = self.0.running.lock();
        self.0.stop.store(true, Ordering::Release);
        // The thread may wait to hand over, because an earlier result was not taken.
        while rebuilt.try_recv().is_ok() {}
        join(running.take());
        while rebuilt.try_recv().is_ok() {}
        self.0.stop.store(false, Ordering::Release);
        open()
    }

    /// Returns once nothing is being rebuilt.
    pub async fn idle(&self) {
        if self.0.reached.subscribe().wait_for(Option::is_none).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// See [`Rebuild::start`].
    pub fn start(&self) -> std::io::Result<()> {
        Rebuild(self.0.clone()).start()
    }

    /// Ends a running rebuild and waits for its thread. No other rebuild starts after that.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        join(self.0.running.lock().take());
    }
}

fn join(running: Option<Worker>) {
    if let Some(thread) = running {
        thread.join();
    }
}

impl RebuildShared {
    /// Makes a generation that is nearly up to the head, or less far if a stop is requested.
    fn make(&self) -> Result<Generation, ProjectionError> {
        self.opened.wait();
        let mut generation = Generation::begin(&self.directory, &self.reader, self.keeping)?;
        match self.advance(&mut generation) {
            Ok(()) => Ok(generation),
            Err(error) => {
                generation.remove();
                Err(error)
            }
        }
    }

    fn advance(&self, generation: &mut Generation) -> Result<(), ProjectionError> {
        let mut intake = generation.intake(&self.reader, None, &self.runtime);
        while generation.position() + NEAR < self.reader.head().position
            && !self.stop.load(Ordering::Acquire)
            && let Some(events) = intake.wait()
        {
            generation.take(events.map_err(ProjectionError::Log)?)?;
            self.reached.send_replace(Some(generation.position()));
        }
        Ok(())
    }

    fn hand_over(&self, generation: Generation) {
        if self.done.blocking_send(Box::new(generation)).is_err() {
            tracing::debug!("the projector has ended; the next start removes the rebuilt views");
        }
    }
}
