//! Tests of the accept loop alone: its limits and its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cleat::http::{self, ListenerLimits, Observer, RequestBody, problem};
use cleat::metrics::{Gauge, Metrics};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
/// A request whose handler lets all other tasks run before it reads the body.
const LATE_BODY: &[u8] = b"POST /late-body HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n12345";

/// A listener that answers 404, once it has a permit.
struct Listener {
    address: std::net::SocketAddr,
    metrics: Metrics,
    open: Gauge,
    /// Number of requests that have reached the handler.
    begun: Arc<AtomicUsize>,
    /// Permits. Each answer takes one.
    answers: Arc<Semaphore>,
    drain: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Listener {
    async fn open(connections: u32, header_timeout: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new();
        let (open, begun, answers) =
            (metrics.connections("test"), Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (drain, draining) = watch::channel(false);
        let handler = {
            let (begun, answers) = (begun.clone(), answers.clone());
            move |request: hyper::Request<RequestBody>, _| {
                let (begun, answers) = (begun.clone(), answers.clone());
                async move {
                    assert_ne!(request.uri().path(), "/panic");
                    begun.fetch_add(1, Ordering::SeqCst);
                    if request.uri().path() == "/late-body" {
                        for _ in 0..10 {
                            tokio::task::yield_now().await;
                        }
                    }
                    if request.uri().path().ends_with("body") && request.into_body().collect().await.is_err() {
                        // The client has left.
                    }
                    answers.acquire().await.unwrap().forget();
                    problem(StatusCode::NOT_FOUND, "NOTHING", "nothing")
                }
            }
        };
        let limits = ListenerLimits { connections, header_timeout };
        let serving =
            tokio::spawn(http::serve(listener, limits, Observer::new(&metrics, "test", |_| {}), draining, handler));
        Self { address, metrics, open, begun, answers, drain, serving }
    }

    async fn connect(&self, write: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(write).await.unwrap();
        stream
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it ends")
}

async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Reads one answer of a connection that stays open.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.ends_with('}') {
        let read = within(stream.read(&mut buffer)).await.unwrap();
        assert_ne!(read, 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

async fn closed(stream: &mut TcpStream) -> bool {
    within(stream.read(&mut [0; 1024])).await.map_or(true, |read| read == 0)
}

#[tokio::test]
async fn one_connection_carries_several_requests() {
    let listener = Listener::open(8, Duration::from_secs(20)).await;
    listener.answers.add_permits(2);
    let mut stream = listener.connect(REQUEST).await;
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 404 Not Found\r\n"));
    stream.write_all(REQUEST).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 404 Not Found\r\n"));
}

#[tokio::test]
async fn silent_slow_and_idle_connections_are_closed() {
    let listener = Listener::open(8, Duration::from_millis(100)).await;
    listener.answers.add_permits(1);
    let mut silent = listener.connect(b"").await;
    let mut slow = listener.connect(b"GET / HTTP/1.1\r\nhos").await;
    let mut idle = listener.connect(REQUEST).await;
    answer(&mut idle).await;
    assert!(closed(&mut silent).await && closed(&mut slow).await && closed(&mut idle).await);
    until(|| listener.open.get() == 0).await;
}

/// The client sends requests repeatedly and reads none of the answers.
#[tokio::test]
async fn a_client_that_never_reads_gives_up_its_seat() {
    let listener = Listener::open(1, Duration::from_millis(300)).await;
    listener.answers.add_permits(Semaphore::MAX_PERMITS);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut unread = socket.connect(listener.address).await.unwrap();
    let asked = within(async { while unread.write_all(REQUEST).await.is_ok() {} });
    asked.await;
    until(|| listener.open.get() == 0).await;
    assert!(answer(&mut listener.connect(REQUEST).await).await.contains("404"));
}

#[tokio::test]
async fn when_all_seats_are_at_work_the_next_connection_waits() {
    let listener = Listener::open(1, Duration::from_secs(20)).await;
    let mut first = listener.connect(REQUEST).await;
    until(|| listener.begun.load(Ordering::SeqCst) == 1).await;
    let mut second = listener.connect(REQUEST).await;
    assert_eq!((listener.open.get(), listener.begun.load(Ordering::SeqCst)), (1, 1));
    listener.answers.add_permits(1);
    answer(&mut first).await;
    listener.answers.add_permits(1);
    answer(&mut second).await;
    assert!(closed(&mut first).await, "idle, it gave way");
}

#[tokio::test]
async fn drain_closes_idle_and_silent_connections_but_awaits_requests() {
    let listener = Listener::open(8, Duration::from_secs(20)).await;
    listener.answers.add_permits(1);
    let mut idle = listener.connect(REQUEST).await;
    answer(&mut idle).await;
    let mut silent = listener.connect(b"").await;
    let mut busy = listener.connect(REQUEST).await;
    until(|| listener.begun.load(Ordering::SeqCst) == 2 && listener.open.get() == 3).await;

    listener.drain.send(true).unwrap();
    assert!(closed(&mut idle).await && closed(&mut silent).await);
    until(|| listener.open.get() == 1).await;
    assert!(TcpStream::connect(listener.address).await.is_err(), "the port is closed");
    listener.answers.add_permits(1);
    let last = answer(&mut busy).await;
    assert!(last.contains("connection: close\r\n"), "{last}");
    assert!(closed(&mut busy).await);
    within(listener.serving).await.unwrap();
}

#[tokio::test]
async fn dropping_the_drain_signal_drains_as_well() {
    let listener = Listener::open(8, Duration::from_secs(20)).await;
    let mut silent = listener.connect(b"").await;
    drop(listener.drain);
    assert!(closed(&mut silent).await);
    within(listener.serving).await.unwrap();
}

#[tokio::test]
async fn dropping_the_server_cuts_what_is_left() {
    let listener = Listener::open(8, Duration::from_secs(20)).await;
    let mut busy = listener.connect(REQUEST).await;
    until(|| listener.begun.load(Ordering::SeqCst) == 1).await;
    listener.serving.abort();
    assert!(closed(&mut busy).await);
    until(|| listener.open.get() == 0).await;
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_connection_only() {
    let listener = Listener::open(1, Duration::from_secs(20)).await;
    let mut broken = listener.connect(b"GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(closed(&mut broken).await);
    listener.answers.add_permits(1);
    assert!(answer(&mut listener.connect(REQUEST).await).await.contains("404"));
}

#[tokio::test]
async fn malformed_requests_are_refused_by_the_engine() {
    let listener = Listener::open(8, Duration::from_secs(20)).await;
    for request in ["nonsense\r\n\r\n", "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"] {
        let mut stream = listener.connect(request.as_bytes()).await;
        let mut text = String::new();
        within(stream.read_to_string(&mut text)).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    }
    assert_eq!(listener.begun.load(Ordering::SeqCst), 0);
}

/// Checks that a connection that has sent `write` and has had its answers gives up the only seat to the next one.
async fn gives_way(write: &[u8], answers: usize) {
    let listener = Listener::open(1, Duration::from_secs(20)).await;
    listener.answers.add_permits(answers + 1);
    let mut first = listener.connect(write).await;
    if answers > 0 {
        answer(&mut first).await;
    }
    until(|| listener.open.get() == 1).await;
    let mut next = listener.connect(REQUEST).await;
    assert!(answer(&mut next).await.contains("404"));
    assert!(closed(&mut first).await);
    assert_eq!((listener.open.get(), listener.metrics.http_evicted("test").get()), (1, 1));
}

#[tokio::test]
async fn a_connection_that_waits_for_its_peer_gives_way_to_the_next() {
    gives_way(b"", 0).await;
    gives_way(b"GET / HTTP/1.1\r\nhos", 0).await;
    gives_way(REQUEST, 1).await;
}

#[tokio::test]
async fn a_request_without_the_rest_of_its_body_gives_way_to_the_next() {
    // hyper skips empty lines before a request.
    for prefix in ["", "\r\n\r\n"] {
        let request = format!("{prefix}POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345");
        let listener = Listener::open(1, Duration::from_secs(20)).await;
        let mut first = listener.connect(request.as_bytes()).await;
        until(|| listener.begun.load(Ordering::SeqCst) == 1).await;
        listener.answers.add_permits(1);
        assert!(answer(&mut listener.connect(REQUEST).await).await.contains("404"));
        assert!(closed(&mut first).await);
    }
}

#[tokio::test]
async fn the_connection_that_waits_longest_gives_way_first() {
    let listener = Listener::open(3, Duration::from_secs(20)).await;
    let mut waiting = Vec::new();
    for open in 1..=3 {
        waiting.push(listener.connect(b"GET / HTTP/1.1\r\n").await);
        until(|| listener.open.get() == open).await;
    }
    listener.answers.add_permits(1);
    answer(&mut listener.connect(REQUEST).await).await;
    assert!(closed(&mut waiting[0]).await);
    for still_open in &mut waiting[1..] {
        listener.answers.add_permits(1);
        still_open.write_all(b"host: x\r\n\r\n").await.unwrap();
        answer(still_open).await;
    }
}

#[tokio::test]
async fn a_complete_request_never_gives_way() {
    let listener = Listener::open(2, Duration::from_secs(20)).await;
    let mut working = listener.connect(REQUEST).await;
    until(|| listener.begun.load(Ordering::SeqCst) == 1).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(listener.connect(b"").await);
    }
    until(|| listener.metrics.http_evicted("test").get() >= 10).await;
    listener.answers.add_permits(1);
    assert!(answer(&mut working).await.contains("404"));
}

#[tokio::test]
async fn a_request_that_came_with_its_connection_never_gives_way() {
    let listener = Listener::open(1, Duration::from_secs(20)).await;
    listener.answers.add_permits(4);
    // All requests are there before the listener first runs, because this thread does not wait for anything of the
    // runtime.
    let mut requests = [REQUEST, REQUEST, LATE_BODY, LATE_BODY].map(|request| {
        let mut stream = std::net::TcpStream::connect(listener.address).unwrap();
        std::io::Write::write_all(&mut stream, request).unwrap();
        stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(stream).unwrap()
    });
    for stream in &mut requests {
        assert!(answer(stream).await.contains("404"));
    }
}

/// Returns whether a connection is answered that is silent when the next one lacks a seat. `None` if the machine
/// stalled meanwhile.
async fn is_answered_late() -> Option<bool> {
    let listener = Listener::open(1, Duration::from_secs(20)).await;
    listener.answers.add_permits(2);
    let begun = Instant::now();
    let mut late = listener.connect(b"").await;
    until(|| listener.open.get() == 1).await;
    let mut next = std::net::TcpStream::connect(listener.address).unwrap();
    std::io::Write::write_all(&mut next, REQUEST).unwrap();
    // The listener runs here, and lacks a seat for the next connection.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    late.write_all(REQUEST).await.unwrap();
    if begun.elapsed() > Duration::from_millis(40) {
        return None;
    }
    Some(within(late.read(&mut [0; 1024])).await.is_ok_and(|read| read > 0))
}

#[tokio::test]
async fn a_new_connection_has_a_moment_for_its_first_byte() {
    for _ in 0..100 {
        if let Some(is_answered) = is_answered_late().await {
            return assert!(is_answered);
        }
    }
    panic!("the machine stalls all the time");
}

#[tokio::test]
async fn idle_connections_close_soon_when_seats_are_short() {
    let listener = Listener::open(8, Duration::from_secs(600)).await;
    listener.answers.add_permits(3);
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = listener.connect(REQUEST).await;
        answer(&mut stream).await;
        idle.push(stream);
    }
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(listener.connect(b"").await);
    }
    for mut stream in idle {
        assert!(closed(&mut stream).await);
    }
    until(|| listener.open.get() == 5).await;
}

#[tokio::test]
async fn every_answer_forbids_a_guess_at_its_type() {
    let listener = Listener::open(8, Duration::from_secs(20)).await;
    listener.answers.add_permits(1);
    let text = answer(&mut listener.connect(REQUEST).await).await;
    assert!(text.contains("x-content-type-options: nosniff\r\n"), "{text}");
}
