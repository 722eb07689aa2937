//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::write_timeout::WriteTimeout;
use super::{Drain, Reply, draining};

/// Of unread input; a request's headers must fit.
const BUFFER_BYTES: usize = 64 * 1024;

pub(super) async fn run<H, F>(stream: TcpStream, header_timeout: Duration, mut drain: Drain, handler: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Reply>,
{
    if !speaks(&stream, header_timeout, &mut drain).await {
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection is already gone");
        return;
    }
    let service = service_fn(move |request| {
        let reply = handler(request);
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream, header_timeout)), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = draining(&mut drain) => {
            // An idle connection closes now; one with a request closes after its answer.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Waits for the first byte. hyper takes a connection that never sent one for busy and would not close it at drain.
async fn speaks(stream: &TcpStream, header_timeout: Duration, drain: &mut Drain) -> bool {
    tokio::select! {
        biased;
        ready = stream.readable() => ready.is_ok(),
        () = draining(drain) => false,
        () = tokio::time::sleep(header_timeout) => false,
    }
}
