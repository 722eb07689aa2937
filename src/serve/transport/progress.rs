//! Progress of an answer: whether its reader takes the pieces it is given, and the end of streams whose readers do not.
//! Knows nothing of an answer's content.
//!
//! The HTTP/2 library polls a body for its next data before the peer has a window for it, and hands a whole chunk to
//! its send buffer once there is a window of one byte. So an answer is handed over in pieces. The next piece follows
//! when the library has dropped the one before: at that moment it was written to the socket.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Time after which a stream is reset if its reader takes no whole piece.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

tokio::task_local! {
    /// Progress of the stream that the task serves.
    pub(super) static STREAM: Arc<Progress>;
}

#[derive(Default)]
pub(super) struct Progress(Mutex<StreamState>);

#[derive(Default)]
struct StreamState {
    /// Time at which the piece was handed over that the reader has not taken yet. `None` if there is none.
    waiting_since: Option<Instant>,
    expired: bool,
    /// Woken when the piece has been taken.
    body: Option<Waker>,
}

/// Bytes of a piece. Reports when the library drops them.
struct Piece {
    bytes: Vec<u8>,
    progress: Arc<Progress>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut state = self.progress.0.lock();
        state.waiting_since = None;
        if let Some(body) = state.body.take() {
            body.wake();
        }
    }
}

impl Progress {
    /// Starts to wait for the reader. Returns a copy of the bytes, so that a piece in the library's buffer does not
    /// keep the whole answer alive.
    pub fn hand_over(self: &Arc<Self>, bytes: &[u8]) -> Bytes {
        self.0.lock().waiting_since = Some(Instant::now());
        Bytes::from_owner(Piece { bytes: bytes.to_vec(), progress: self.clone() })
    }

    /// Returns `Ready` once the last piece has been taken.
    pub fn poll_taken(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.waiting_since.is_none() {
            return Poll::Ready(());
        }
        state.body = Some(context.waker().clone());
        Poll::Pending
    }

    /// Whether the stream must end with a reset.
    pub fn is_expired(&self) -> bool {
        self.0.lock().expired
    }

    /// Returns when the reader has taken nothing for the timeout although a piece waits for it.
    async fn stalled(&self, timeout: Duration) {
        loop {
            let now = Instant::now();
            let due = self.0.lock().waiting_since.unwrap_or(now) + timeout;
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// Runs each stream of a connection as a task, until it ends or its reader stalls.
#[derive(Clone, Copy)]
pub(super) struct StreamExecutor;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let progress = Arc::new(Progress::default());
        // Detached: the end of its connection ends it.
        tokio::spawn(STREAM.scope(progress.clone(), run(stream, progress, STALL_TIMEOUT)));
    }
}

async fn run(stream: impl Future<Output = ()>, progress: Arc<Progress>, timeout: Duration) {
    let mut stream = pin!(stream);
    tokio::select! {
        biased;
        () = &mut stream => return,
        () = progress.stalled(timeout) => {}
    }
    progress.0.lock().expired = true;
    // If the piece is in the library's buffer, the body is polled now and fails, which empties the buffer and resets
    // the stream. If the piece waits for a window, the body is not polled, and the drop of the stream resets it.
    std::future::poll_fn(|context| Poll::Ready(stream.as_mut().poll(context).is_ready())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_waiting_data_is_never_stalled() {
        let progress = Arc::new(Progress::default());
        let piece = progress.hand_over(b"x");
        let taken = progress.clone();
        drop(piece);
        let idle = async {
            tokio::time::sleep(6 * SHORT).await;
            assert!(!taken.is_expired());
        };
        run(idle, progress.clone(), SHORT).await;
        assert!(!progress.is_expired());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_piece_is_not_taken_ends() {
        let progress = Arc::new(Progress::default());
        let _piece = progress.hand_over(b"x");
        run(std::future::pending(), progress.clone(), SHORT).await;
        assert!(progress.is_expired());
    }
}
