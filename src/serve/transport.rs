//! HTTP/2 connections and their streams, with bounds on everything that a peer can make cleat hold: seats, streams,
//! bytes that arrive and bytes that are not taken. Knows nothing of the services.
//!
//! hyper runs the connections: tonic's own server has no control over a single stream or an idle connection.

mod answer_body;
mod bounds;
mod connection;
pub(super) mod middleware;
mod open_stream;
mod progress;
mod request_body;
mod seats;
mod socket;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

pub(super) use self::bounds::{Bounds, MethodBounds};
pub use self::connection::Routed;
pub use self::middleware::Deadline;
pub use self::seats::CONNECTIONS_MAX;
use self::seats::GrpcSeats;
use self::socket::Socket;
use super::limits::Caller;
use crate::http::next;

/// Serves until `shutdown` resolves, and then until every connection has ended.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<(S, Caller)>>,
    bounds: Arc<Bounds>,
    service: impl Routed,
    shutdown: impl Future<Output = ()>,
) {
    let seats = GrpcSeats::new();
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => report(ended),
            (stream, caller) = next(&mut poll_accept) => {
                // Without a seat the connection is closed at once, so that it does not block those of other callers.
                let Some(permit) = seats.take(caller) else { continue };
                let socket = Socket::new(stream);
                let bounds = bounds.clone();
                let service = service.clone();
                connections.spawn(connection::run(socket, Arc::new(permit), bounds, stopping.clone(), service));
            }
        }
    }
    drop(poll_accept);
    stop.send_replace(true);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        // The error's message is left out: it could quote a request.
        tracing::error!(panicked = error.is_panic(), "the task of a connection failed");
    }
}
