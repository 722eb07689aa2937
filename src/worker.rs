//! Named threads that their owner joins. Knows nothing of their work.

use std::io;
use std::thread::{Builder, JoinHandle};

/// A running thread.
pub struct Worker<T = ()> {
    name: &'static str,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread. The system cuts its name after 15 characters.
    pub fn spawn(name: &'static str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let thread = Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { name, thread })
    }

    /// Waits for the end of the thread. `None` if it panicked, which is logged.
    pub fn join(self) -> Option<T> {
        let result = self.thread.join().ok();
        if result.is_none() {
            // Without the message of the panic, which may quote data.
            tracing::error!(thread = self.name, "a thread panicked");
        }
        result
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}
