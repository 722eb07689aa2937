//! Makes the views anew beside those that serve, from the log alone, on a thread of its own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, watch};

use super::generation::{Generation, ProjectionError};
use crate::event::Position;
use crate::log::Reader;

/// Near enough for the projector to go the rest of the way between two swaps.
const NEAR: u64 = 1000;

/// Asks for it, and tells how far it is. Cheap to clone.
#[derive(Clone)]
pub struct Rebuild(Arc<Shared>);

/// The projector's end: nothing is rebuilt once it is gone.
pub(super) struct Rebuilder(Arc<Shared>);

struct Shared {
    reader: Reader,
    directory: PathBuf,
    ring_len: usize,
    running: Mutex<Option<JoinHandle<()>>>,
    stop: AtomicBool,
    /// None: nothing is being rebuilt.
    reached: watch::Sender<Option<Position>>,
    done: mpsc::Sender<Box<Generation>>,
}

impl Rebuild {
    pub(super) fn new(
        reader: Reader,
        directory: PathBuf,
        ring_len: usize,
    ) -> (Self, Rebuilder, mpsc::Receiver<Box<Generation>>) {
        let (done, rebuilt) = mpsc::channel(1);
        let (running, stop) = (Mutex::new(None), AtomicBool::new(false));
        let reached = watch::Sender::new(None);
        let shared = Arc::new(Shared { reader, directory, ring_len, running, stop, reached, done });
        (Self(shared.clone()), Rebuilder(shared), rebuilt)
    }

    /// Begins, unless it is going on already.
    pub fn start(&self) -> std::io::Result<()> {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_some_and(|thread| !thread.is_finished()) || self.0.stop.load(Ordering::Acquire) {
            return Ok(());
        }
        self.0.reached.send_replace(Some(0));
        let shared = self.0.clone();
        let thread = thread::Builder::new().name("cleat-rebuild".into()).spawn(move || {
            if let Err(error) = shared.run() {
                tracing::error!(%error, "the views were not rebuilt; those that serve go on");
            }
            shared.reached.send_replace(None);
        })?;
        *running = Some(thread);
        Ok(())
    }

    /// How far it is; None when nothing is being rebuilt.
    pub fn reached(&self) -> Option<Position> {
        *self.0.reached.borrow()
    }
}

impl Rebuilder {
    /// Waits for its end.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if running.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that rebuilds the views panicked");
        }
    }
}

impl Shared {
    fn run(&self) -> Result<(), ProjectionError> {
        let mut generation = Generation::begin(&self.directory, &self.reader, self.ring_len)?;
        let mut tail = self.reader.tail(0);
        while generation.position() + NEAR < self.reader.head().position {
            if self.stop.load(Ordering::Acquire) {
                generation.retire();
                return Ok(());
            }
            for event in tail.read().map_err(ProjectionError::Log)? {
                generation.advance(&event)?;
            }
            self.reached.send_replace(Some(generation.position()));
        }
        // An error: the projector has ended, and with it the need.
        if let Err(mpsc::error::SendError(generation)) = self.done.blocking_send(Box::new(generation)) {
            generation.retire();
        }
        Ok(())
    }
}
