//! The accept loop of every HTTP listener. Runs hyper with limits on connections and on silence, gives seats to the
//! next connection when they run out, and at the end waits for the requests in flight.
//!
//! Knows nothing of the content that it serves. The listener comes bound, so that tests and inherited sockets work
//! alike.

mod accept;
mod connection;
mod first_request;
mod host;
mod observer;
mod peer_stream;
mod problem;
mod request_body;
mod seats;
mod write_deadline;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};

pub use accept::next;
pub use connection::Drain;
use connection::{HttpConnection, draining};
pub use host::HostKind;
pub use observer::{Observer, Refused};
pub use problem::{Reply, problem};
pub use request_body::RequestBody;
use seats::HttpSeats;
pub use write_deadline::WriteDeadline;

/// Limits of a listener for its clients.
#[derive(Debug, Clone, Copy)]
pub struct ListenerLimits {
    /// Maximum number of open connections. At this limit, the connection that has kept its seat longest without a
    /// success gives way to the next.
    pub connections: u32,
    /// Time for the headers of a request, and so for silence between two requests. Also the time within which the peer
    /// must take more of its answers.
    pub header_timeout: Duration,
}

/// Serves until `drain`, then ends when the requests in flight are answered. The caller bounds that time: dropping the
/// future cuts the rest.
pub async fn serve<H, F>(
    listener: TcpListener,
    limits: ListenerLimits,
    observer: Observer,
    mut drain: Drain,
    handler: H,
) where
    H: Fn(Request<RequestBody>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let seats = HttpSeats::new(limits.connections, observer);
    let stopping = drain.clone();
    let mut connections = JoinSet::new();
    {
        // Outlives each turn of the loop: an accepted connection may have to wait for its seat.
        let mut arrival = pin!(arrive(&listener, &seats));
        loop {
            tokio::select! {
                biased;
                () = draining(&mut drain) => break,
                Some(ended) = connections.join_next() => report(ended),
                connection = arrival.as_mut() => {
                    connections.spawn(connection.run(limits.header_timeout, stopping.clone(), handler.clone()));
                    arrival.set(arrive(&listener, &seats));
                }
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

async fn arrive(listener: &TcpListener, seats: &Arc<HttpSeats>) -> HttpConnection {
    let (stream, peer) = next(|context| listener.poll_accept(context)).await;
    let permit = seats.take().await;
    HttpConnection { stream, peer, permit }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        // Without its message, which could quote a request.
        tracing::error!(panicked = error.is_panic(), "the task of a connection failed");
    }
}
