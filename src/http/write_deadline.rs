//! How long a peer may take nothing of what is written to it. Knows nothing of what is written, or of the stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Fails a write, flush or shutdown that makes no progress for a time.
pub struct WriteDeadline {
    patience: Duration,
    /// `None` while the peer takes what is written.
    expires: Option<Pin<Box<Sleep>>>,
}

impl WriteDeadline {
    pub fn new(patience: Duration) -> Self {
        Self { patience, expires: None }
    }

    /// Whether the peer takes nothing now.
    pub fn is_running(&self) -> bool {
        self.expires.is_some()
    }

    /// The result of a write, or an error if it has been pending for too long.
    pub fn bound<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.expires = None;
            return written;
        }
        let expires = self.expires.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        expires.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}
