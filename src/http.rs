//! The one accept loop that every HTTP listener runs on: hyper itself, with bounds on connections and on silence, and
//! an end that waits for the requests in flight.
//!
//! Knows nothing of what is served. The listener comes bound, so that tests and sockets handed in work alike.

mod accept;
mod connection;
mod problem;
mod write_timeout;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use crate::metrics::Gauge;
pub use accept::accept;
pub use problem::problem;

/// What a handler answers.
pub type Reply = Response<Full<Bytes>>;

/// Turns true once, when the daemon stops. A dropped sender means the same.
pub type Drain = watch::Receiver<bool>;

/// What a listener allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// When so many are open, further ones wait in the system's queue.
    pub connections: u32,
    /// For the headers of a request, and so for silence between two; and for the peer to take more of its answers.
    pub header_timeout: Duration,
}

/// Serves until `drain`, then ends when the requests in flight are answered. The caller bounds that: dropping the
/// future cuts what is left. `open` shows the open connections.
pub async fn serve<H, F>(listener: TcpListener, limits: Limits, open: Gauge, mut drain: Drain, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let seats = Arc::new(Semaphore::new(limits.connections as usize));
    let stopping = drain.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = draining(&mut drain) => break,
            Some(ended) = connections.join_next() => report(ended),
            ((stream, _), seat) = accept(&seats, |context| listener.poll_accept(context)) => {
                let seat = Seat::take(seat, &open);
                let served = connection::run(stream, limits.header_timeout, stopping.clone(), handler.clone());
                connections.spawn(async move {
                    served.await;
                    drop(seat);
                });
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// Until the daemon stops.
async fn draining(drain: &mut Drain) {
    match drain.wait_for(|stop| *stop).await {
        // An error says that the sender is gone, and the daemon with it.
        Ok(_) | Err(_) => {}
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        // Not its message, which could quote a request.
        tracing::error!(panicked = error.is_panic(), "the task of a connection died");
    }
}

/// A connection's place among the allowed ones, counted while it lives.
struct Seat {
    open: Gauge,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Seat {
    fn take(permit: Option<OwnedSemaphorePermit>, open: &Gauge) -> Self {
        open.inc();
        Self { open: open.clone(), _permit: permit }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.dec();
    }
}
