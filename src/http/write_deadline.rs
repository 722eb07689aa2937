//! The time for which a peer may take no output. Knows neither the output nor the stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Fails a write, flush or shutdown that makes no progress for a time.
pub struct WriteDeadline {
    patience: Duration,
    /// `None` while the peer takes output.
    expires: Option<Pin<Box<Sleep>>>,
}

impl WriteDeadline {
    pub fn new(patience: Duration) -> Self {
        Self { patience, expires: None }
    }

    /// Whether a write waits for the peer now.
    pub fn is_running(&self) -> bool {
        self.expires.is_some()
    }

    /// Returns the result of a write, or an error if it has been pending for too long.
    pub fn bound<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.expires = None;
            return written;
        }
        let expires = self.expires.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        expires.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}
