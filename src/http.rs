//! The one accept loop that every HTTP listener runs on: hyper itself, with bounds on connections and on silence, and
//! an end that waits for the requests in flight.
//!
//! Knows nothing of what is served. The listener comes bound, so that tests and sockets handed in work alike.

mod connection;
mod problem;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use crate::metrics::Gauge;
pub use problem::problem;

/// What a handler answers.
pub type Reply = Response<Full<Bytes>>;

/// Turns true once, when the daemon stops. A dropped sender means the same.
pub type Drain = watch::Receiver<bool>;

/// How long to leave new connections waiting when the process can open no more files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What a listener allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// When so many are open, further ones wait in the system's queue.
    pub connections: u32,
    /// For the headers of a request, and so for silence between two.
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
            (stream, seat) = next(&listener, &seats) => {
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

/// The next connection, once there is a seat for it. Safe to cancel.
async fn next(listener: &TcpListener, seats: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a seat in the end.
    let seat = seats.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, seat),
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Its client went away while it waited; the next accept may succeed at once.
fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
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
