//! One connection, from its first byte to its end. Knows nothing of the content that it serves.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::first_request::FirstRequest;
use super::observer::Refused;
use super::peer_stream::PeerStream;
use super::problem::Reply;
use super::request_body::RequestBody;
use super::seats::HttpPermit;

/// Turns true once, when the daemon stops. A dropped sender means the same.
pub type Drain = watch::Receiver<bool>;

/// Limit of unread input. The headers of a request must fit in it.
const BUFFER_BYTES: usize = 64 * 1024;
/// Time for the first byte of a new connection before it may be evicted. A client on a busy machine may connect some
/// milliseconds before it sends. Silent connections cannot follow one another on a seat faster than this.
const FIRST_BYTE_GRACE: Duration = Duration::from_millis(50);

/// One connection and its seat.
pub(super) struct HttpConnection {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub permit: HttpPermit,
}

impl HttpConnection {
    /// Serves the connection until the peer leaves, a limit ends it, the daemon drains, or another connection needs the
    /// seat.
    pub async fn run<H, F>(self, header_timeout: Duration, drain: Drain, handler: H)
    where
        H: Fn(Request<RequestBody>, SocketAddr) -> F,
        F: Future<Output = Reply>,
    {
        let Self { stream, peer, permit } = self;
        let permit = Arc::new(permit);
        tokio::select! {
            biased;
            () = permit.wait_for_eviction() => {}
            () = serve(stream, peer, permit.clone(), header_timeout, drain, handler) => {}
        }
    }
}

async fn serve<H, F>(
    stream: TcpStream,
    peer: SocketAddr,
    permit: Arc<HttpPermit>,
    header_timeout: Duration,
    mut drain: Drain,
    handler: H,
) where
    H: Fn(Request<RequestBody>, SocketAddr) -> F,
    F: Future<Output = Reply>,
{
    if !wait_for_first_byte(&stream, &permit, header_timeout, &mut drain).await {
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection is already gone");
        return;
    }
    let first = Arc::new(FirstRequest::default());
    let service_permit = permit.clone();
    let service_first = first.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let permit = service_permit.clone();
        let body = |incoming| RequestBody::new(incoming, permit.clone(), &service_first);
        let reply = handler(request.map(body), peer);
        async move {
            let mut reply = reply.await;
            reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            permit.record_answer(reply.status().is_success());
            Ok::<_, Infallible>(reply)
        }
    });
    let stream = PeerStream::new(stream, permit.clone(), first, header_timeout);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
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
        if permit.reads_head() {
            permit.observer().count_refused(reason(&error));
        }
    }
}

fn reason(error: &hyper::Error) -> Refused {
    if error.is_parse_too_large() {
        Refused::HeadersTooLarge
    } else if error.is_parse() {
        Refused::Malformed
    } else if error.is_timeout() {
        Refused::HeaderTimeout
    } else {
        Refused::EndedEarly
    }
}

/// Waits for the first byte. False if none arrives. A connection that never sent one counts as busy for hyper, which
/// would not close it at drain.
async fn wait_for_first_byte(
    stream: &TcpStream,
    permit: &HttpPermit,
    header_timeout: Duration,
    drain: &mut Drain,
) -> bool {
    let mut first_byte = [0];
    let silence = async {
        tokio::time::sleep(FIRST_BYTE_GRACE.min(header_timeout)).await;
        permit.record_read_blocked();
        tokio::time::sleep(header_timeout.saturating_sub(FIRST_BYTE_GRACE)).await;
    };
    tokio::select! {
        biased;
        // Not `readable`, which may be ready although no byte has arrived.
        arrived = stream.peek(&mut first_byte) => arrived.is_ok_and(|bytes| bytes > 0),
        () = draining(drain) => false,
        () = silence => {
            permit.observer().count_refused(Refused::Silent);
            false
        }
    }
}

/// Resolves when the daemon stops.
pub(super) async fn draining(drain: &mut Drain) {
    match drain.wait_for(|stop| *stop).await {
        // An error means that the sender is gone, and the daemon with it.
        Ok(_) | Err(_) => {}
    }
}
