//! One HTTP/2 connection, from its first byte to its end. Knows nothing of the services.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;
use tonic::body::Body;

use super::answer_body::AnswerBody;
use super::bounds::Bounds;
use super::open_stream::OpenStream;
use super::progress::{STREAM, StreamExecutor};
use super::request_body::BoundedBody;
use super::seats::GrpcPermit;
use super::socket::Socket;

const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Maximum number of streams of one connection, watches included.
const STREAMS_MAX: u32 = 128;

/// Service that answers the requests.
pub trait Routed:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Routed for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Interval of pings. A peer that vanished is noticed within half a minute, even by a watch that has nothing to send.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which a connection without a stream is closed.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Time for the client to end an idle connection after it has been asked to.
const IDLE_FAREWELL: Duration = Duration::from_secs(10);
/// Bytes that a client may send before cleat reads them, on a stream and on a connection.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// Runs the connection until the client ends it, it has been idle for too long, its seat is given to another one, or
/// `stopping` turns true and its streams have ended.
pub(super) async fn run<S: Routed>(
    socket: Socket<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    permit: Arc<GrpcPermit>,
    bounds: Arc<Bounds>,
    mut stopping: watch::Receiver<bool>,
    service: S,
) {
    let requests = Requests { permit: permit.clone(), bounds, service };
    let connection = http2::Builder::new(StreamExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_connection(TokioIo::new(socket), requests);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = idle(&permit) => {
            connection.as_mut().graceful_shutdown();
            timeout(IDLE_FAREWELL, connection).await.unwrap_or(Ok(()))
        }
        () = permit.evicted() => {
            connection.as_mut().graceful_shutdown();
            // Writes only the bytes that can be written at once. The seat already belongs to another connection, so the
            // client is not waited for.
            timeout(Duration::ZERO, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Returns when the server stops. An error means that the sender is gone, and the server with it.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    match stopping.wait_for(|stop| *stop).await {
        Ok(_) | Err(_) => {}
    }
}

/// Returns when the connection has had no stream for long enough.
async fn idle(permit: &GrpcPermit) {
    loop {
        let now = Instant::now();
        let due = permit.idle_since().unwrap_or(now) + IDLE_MAX;
        if due <= now {
            return;
        }
        sleep_until(due).await;
    }
}

/// Admits the requests of a connection.
struct Requests<S> {
    permit: Arc<GrpcPermit>,
    bounds: Arc<Bounds>,
    service: S,
}

impl<S: Routed> Service<Request<Incoming>> for Requests<S> {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let caller = self.permit.caller;
        let method = self.bounds.of_method(request.uri().path());
        let (permit, refusal) = match self.bounds.admit(&self.permit, method) {
            Ok(permit) => (Some(permit), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let answer_charge = self.bounds.no_bytes(caller);
        let stream = OpenStream::new(self.permit.clone(), self.bounds.no_bytes(caller), permit);
        let mut service = self.service.clone();
        Box::pin(async move {
            let response = if let Some(refusal) = refusal {
                Status::from(refusal).into_http()
            } else {
                let mut request = request.map(|body| Body::new(BoundedBody::new(body, method, stream.clone())));
                request.extensions_mut().insert(caller);
                service.call(request).await?
            };
            let progress = STREAM.with(Arc::clone);
            Ok(response.map(|body| AnswerBody::new(body, answer_charge, progress, stream)))
        })
    }
}
