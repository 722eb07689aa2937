//! HTTP/2 connections and their streams, with bounds on everything that a peer can make cleat hold: seats, streams,
//! bytes that arrive and bytes that are not taken. Knows nothing of the services.
//!
//! hyper runs the connections: tonic's own server has no control over a single stream or an idle connection.

mod answer_body;
mod bounds;
mod connection;
mod open_stream;
mod progress;
mod request_body;
mod seats;
mod socket;

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};

pub(super) use self::bounds::{Bounds, MethodBounds};
pub use self::seats::CONNECTIONS_MAX;
use self::seats::Seats;
use self::socket::Socket;
use super::caller::Caller;
use crate::http::next;

const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Maximum number of streams of one connection, watches included.
const STREAMS_MAX: u32 = 128;
/// Bytes of its request, and again of its answer, that each stream may hold without a charge. Small requests are
/// answered however much others hold.
const FREE_BYTES: usize = 16 * 1024;

/// Service that answers the requests.
pub(super) trait Routed:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Routed for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Serves until `drained`, and then until every connection has ended.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<(S, Caller)>>,
    bounds: Arc<Bounds>,
    service: impl Routed,
    drained: impl Future<Output = ()>,
) {
    let seats = Seats::new();
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut drained = pin!(drained);
    loop {
        tokio::select! {
            biased;
            () = &mut drained => break,
            Some(ended) = connections.join_next() => report(ended),
            (stream, caller) = next(&mut poll_accept) => {
                // Without a seat the connection is closed at once, so that it does not block those of other callers.
                let Some(permit) = seats.take(caller) else { continue };
                let socket = Socket::new(stream);
                let (bounds, service) = (bounds.clone(), service.clone());
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
