//! A door on a free port over a log in a temporary directory, and a sender that writes requests byte by byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cleat::config::{Config, DEVELOPMENT_SECRET};
use cleat::event::{Clock, Identity, Timestamp};
use cleat::ingest::{Door, StaleSignal};
use cleat::log::{Log, LogOptions, NewLog, Reader, TimeSource};
use cleat::metrics::Metrics;
use cleat::rejections::{Rejected, Rejections};
use testkit::signer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub const NOW: i64 = 1_790_000_000;
pub const OLD: &str = "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZC0=";
pub const NEW: &str = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldy0=";
pub const WRONG: &str = "whsec_d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3I=";

/// Returns a configuration with three endpoints: `fasten` (either mode, old and new secret), `live` (live only), `dev`
/// (the development secret and the old one).
fn config(webhooks: &str) -> Config {
    let text = format!(
        "[webhooks]\n{webhooks}\n\
         [[webhooks.endpoints]]\nname = \"fasten\"\nsecrets = [{{ label = \"old\", secret = \"{OLD}\" }}, \"{NEW}\"]\n\
         [[webhooks.endpoints]]\nname = \"live\"\ntenant = \"other\"\napi_mode = \"live\"\nsecrets = [\"{OLD}\"]\n\
         [[webhooks.endpoints]]\nname = \"dev\"\nsecrets = [\"{DEVELOPMENT_SECRET}\", \"{OLD}\"]\n"
    );
    Config::parse("test", &text, &|_| None).unwrap()
}

pub struct TestDoor {
    pub reader: Reader,
    pub metrics: Metrics,
    stale: StaleSignal,
    /// Stalls the disk: while this is set, no commit begins.
    pub disk_stalls: Arc<AtomicBool>,
    pub rejections: Rejections,
    /// Kills the writer: once this is set, the next commit ends it.
    pub writer_dies: Arc<AtomicBool>,
    address: std::net::SocketAddr,
    drain: watch::Sender<bool>,
    serving: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl TestDoor {
    pub async fn open() -> Self {
        Self::with("").await
    }

    /// Opens a door with further keys of `[webhooks]`.
    pub async fn with(webhooks: &str) -> Self {
        crate::private::logged();
        let directory = tempfile::tempdir().unwrap();
        let (disk_stalls, writer_dies) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let Log { appender, reader, .. } = open_log(directory.path(), disk_stalls.clone(), writer_dies.clone());
        let metrics = Metrics::new();
        let clock: Clock = Arc::new(|| Timestamp::from_micros(NOW * 1_000_000));
        let door = Door::new(&config(webhooks).webhooks, appender, clock, Arc::new(|| [7; 16]), metrics.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, draining) = watch::channel(false);
        let stale = StaleSignal::default();
        let rejections = Rejections::default();
        let door = door.telling(stale.clone(), rejections.clone());
        let serving = tokio::spawn(door.serve(listener, draining));
        Self {
            reader,
            metrics,
            stale,
            rejections,
            disk_stalls,
            writer_dies,
            address,
            drain,
            serving,
            _directory: directory,
        }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub async fn send(&self, request: &Request) -> Answer {
        let mut stream = self.connect().await;
        if stream.write_all(&request.bytes()).await.is_err() {
            // A door that refuses early may close before it has read everything; its answer is there.
        }
        Answer::read(stream).await
    }

    pub fn head(&self) -> u64 {
        self.reader.head().position
    }

    pub fn count(&self, endpoint: &str, outcome: &'static str) -> u64 {
        self.metrics.webhooks(endpoint, outcome).get()
    }

    pub fn clock_is_doubtful(&self) -> bool {
        self.stale.clock_is_doubtful(Timestamp::from_micros(NOW * 1_000_000))
    }

    pub fn inflight_bytes(&self) -> u64 {
        self.metrics.webhook_inflight_bytes.get()
    }

    /// Checks that the refusal is answered, counted and listed correctly, and leaves neither event nor charge.
    pub async fn refuses(&self, request: &Request, status: u16, reason: &str, outcome: &'static str) -> Answer {
        let head = self.head();
        let endpoint = if outcome == "unknown_endpoint" { "" } else { request.endpoint() };
        let counted = self.count(endpoint, outcome);
        let answer = self.send(request).await;
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{}", answer.text);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        until(|| self.count(endpoint, outcome) == counted + 1).await;
        assert_eq!((self.head(), self.inflight_bytes()), (head, 0));
        let tenant = if endpoint == "live" { "other" } else { "default" };
        let Rejected { at, endpoint: listed, reason, .. } = self.rejections.of(tenant).swap_remove(0);
        let listed = listed.map_or_else(String::new, |(name, _)| name);
        assert_eq!((at.as_micros(), listed.as_str(), reason), (NOW * 1_000_000, endpoint, outcome));
        answer
    }

    pub async fn close(self) {
        self.drain.send(true).unwrap();
        within(self.serving).await.unwrap();
    }
}

/// Opens a log whose writer can be held up or killed when it reads the clock, which it does at every commit.
fn open_log(directory: &std::path::Path, disk_stalls: Arc<AtomicBool>, writer_dies: Arc<AtomicBool>) -> Log {
    let clock: Clock = Arc::new(move || {
        if std::thread::current().name() == Some("cleat-writer") {
            while disk_stalls.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(!writer_dies.load(Ordering::SeqCst), "a test kills the writer");
        }
        Timestamp::from_micros(NOW * 1_000_000)
    });
    let fresh = NewLog::new(Identity { log_id: 1, epoch: 2 }, [9; 32]);
    let options = LogOptions::new(TimeSource::trusted(clock), fresh);
    cleat::log::open(directory, LogOptions { batch_events: 16, dedup_run_events: 1000, ..options }).unwrap()
}

/// Fails a test that would hang.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it ends")
}

/// Waits for a condition that must come true.
pub async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[derive(Clone)]
pub struct Request {
    pub method: &'static str,
    pub host: String,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Returns a request that is correctly signed with `secret`, now.
    pub fn signed(endpoint: &str, secret: &str, id: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::signed_at(endpoint, secret, id, NOW, body)
    }

    pub fn signed_at(endpoint: &str, secret: &str, id: &str, timestamp: i64, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let signed = signer::headers(secret, id, timestamp, &body);
        let headers = signed.into_iter().chain([("content-length", body.len().to_string())]).collect();
        Self { method: "POST", host: "localhost".to_owned(), path: format!("/webhooks/{endpoint}"), headers, body }
    }

    pub fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(set, _)| *set != name);
        self.and(name, value)
    }

    pub fn and(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(set, _)| *set != name);
        self
    }

    /// Splits the body into chunks of this many bytes.
    pub fn chunked(self, size: usize) -> Self {
        let mut body = Vec::new();
        for chunk in self.body.chunks(size) {
            body.extend(format!("{:x}\r\n", chunk.len()).bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
        Self { body, ..self }.without("content-length").and("transfer-encoding", "chunked")
    }

    pub fn bytes(&self) -> Vec<u8> {
        let lines = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let (method, path, host) = (self.method, &self.path, &self.host);
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        [head.as_bytes(), lines.collect::<Vec<_>>().concat().as_bytes(), b"\r\n", &self.body].concat()
    }

    fn endpoint(&self) -> &str {
        self.path.trim_start_matches("/webhooks/")
    }
}

pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    /// Reads everything until the door closes.
    pub async fn read(mut stream: TcpStream) -> Self {
        let mut text = String::new();
        within(stream.read_to_string(&mut text)).await.unwrap();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status: status.unwrap_or_else(|| panic!("no status: {text:?}")), text }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(set, _)| set.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// Position, and whether the event was a duplicate. The answer must be 200.
    pub fn taken(&self) -> (u64, bool) {
        assert_eq!(self.status, 200, "{}", self.text);
        let json = self.json();
        (json["position"].as_u64().unwrap(), json["duplicate"].as_bool().unwrap())
    }
}
