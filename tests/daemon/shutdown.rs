//! SIGTERM: the daemon ends in order and in bounded time, whatever is connected, and keeps everything acknowledged.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cleat::proto::ImportEventsRequest;
use cleat::proto::admin_service_client::AdminServiceClient;
use cleat::proto::watch_connections_response::Message;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::json;
use testkit::bodies;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{Api, Daemon, Launch, Sender, Watch, signed, until};

const PRELOADED: u64 = 300;
/// Bytes that a request counts for, in addition to its body.
#[expect(clippy::cast_possible_truncation, reason = "4 KiB")]
const REQUEST_BYTES: usize = cleat::config::REQUEST_BYTES.as_u64() as usize;

/// Starts a daemon in which only the grace limits the time.
fn start(directory: &Path, grace: &str) -> Daemon {
    let webhooks = "header_timeout = \"10m\"\nrequest_timeout = \"10m\"";
    let config = format!("[shutdown]\ngrace = \"{grace}\"\n");
    Launch { webhooks, config: &config, ..Launch::new(directory) }.start().ready()
}

/// Returns a body so large that a snapshot of all of them is more than a client's window and a socket's buffer can
/// take.
fn body(n: u64) -> Vec<u8> {
    let data = json!({ "org_connection_id": format!("c{n}"), "external_id": "x".repeat(20_000) });
    bodies::undated("patient.connection_success", &format!("event-{n}"), &data).to_string().into_bytes()
}

fn preload(sender: &mut Sender) {
    for n in 1..=PRELOADED {
        assert_eq!(sender.deliver(&format!("event-{n}"), &body(n)).unwrap().taken(), (n, false));
    }
}

fn metric(daemon: &Daemon, name: &str) -> usize {
    let (_, metrics) = daemon.operations("/metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name}: {metrics}")).parse().unwrap()
}

/// Sends a request without its last `held_back` bytes, which it returns.
fn begun(daemon: &Daemon, id: &str, body: &[u8], held_back: usize) -> (Sender, Vec<u8>) {
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    let mut now = signed(id, body);
    let later = now.split_off(now.len() - held_back);
    sender.write(&now).unwrap();
    (sender, later)
}

fn reads_up_to_now(watch: &mut Watch) {
    while !matches!(watch.next().unwrap().message, Some(Message::CaughtUp(_))) {}
}

fn is_sent_away(mut watch: Watch) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let going = loop {
        assert!(Instant::now() < deadline, "it is never sent away");
        match watch.next().unwrap().message {
            Some(Message::GoingAway(going)) => break going,
            message => assert!(matches!(message, Some(Message::ChangeBatch(_) | Message::Heartbeat(_))), "{message:?}"),
        }
    };
    assert_eq!(going.reason, "SHUTTING_DOWN");
    is_shutting_down(&watch.next().unwrap_err());
}

/// An import whose client never ends it.
struct Import {
    answer: std::thread::JoinHandle<Status>,
    _requests: tokio::sync::mpsc::Sender<ImportEventsRequest>,
}

impl Import {
    /// Begins an import with no payloads.
    fn begin(address: std::net::SocketAddr) -> Self {
        let (sender, requests) = tokio::sync::mpsc::channel(1);
        sender.blocking_send(ImportEventsRequest::default()).unwrap();
        let answer = std::thread::spawn(move || {
            let api = Api::connect(address);
            let mut client = AdminServiceClient::new(api.channel());
            api.wait(client.import_events(ReceiverStream::new(requests))).unwrap_err()
        });
        Self { answer, _requests: sender }
    }

    fn ends(self) {
        is_shutting_down(&self.answer.join().unwrap());
    }
}

fn is_shutting_down(status: &Status) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    assert_eq!((status.code(), reason), (Code::Unavailable, Some("SHUTTING_DOWN")));
}

#[test]
fn sigterm_ends_it_in_order_with_any_clients_connected() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = start(directory.path(), "5s");
    let mut idle = Sender::connect(daemon.webhooks).unwrap();
    preload(&mut idle);
    let mut reading = Api::connect(daemon.grpc).watch();
    reads_up_to_now(&mut reading);
    let unread = Api::connect(daemon.grpc).watch();
    let import = Import::begin(daemon.grpc);
    let silent = [daemon.webhooks, daemon.grpc, daemon.operations].map(|port| TcpStream::connect(port).unwrap());
    let mut half_headers = TcpStream::connect(daemon.webhooks).unwrap();
    half_headers.write_all(&signed("half", b"{}")[..40]).unwrap();
    let (half_body, _) = begun(&daemon, "half", &body(0), 10);
    let last = body(PRELOADED + 1);
    let (mut in_time, later) = begun(&daemon, "last", &last, 1);
    let reserved = 2 * REQUEST_BYTES + body(0).len() + last.len();
    until("both have begun", || metric(&daemon, "cleat_webhook_inflight_bytes") == reserved);
    until("all are connected", || metric(&daemon, "cleat_http_connections{listener=\"webhooks\"}") == 5);
    until("both watch", || metric(&daemon, "cleat_watches") == 2);

    daemon.signal(Signal::TERM);
    until("it stops", || daemon.log().contains(r#""message":"stopping""#));
    in_time.write(&later).unwrap();
    assert_eq!(in_time.finish().unwrap().taken(), (PRELOADED + 1, false));
    is_sent_away(reading);
    import.ends();
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
    assert!(daemon.log().contains(r#""message":"stopped""#));
    drop((idle, unread, silent, half_headers, half_body));

    has_all(directory.path(), PRELOADED + 1);
}

#[test]
fn a_second_sigterm_ends_it_at_once_and_takes_nothing_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = start(directory.path(), "10m");
    preload(&mut Sender::connect(daemon.webhooks).unwrap());
    let (half_body, _) = begun(&daemon, "half", &body(0), 10);
    until("it has begun", || metric(&daemon, "cleat_webhook_inflight_bytes") == REQUEST_BYTES + body(0).len());

    daemon.signal(Signal::TERM);
    until("it stops", || daemon.log().contains(r#""message":"stopping""#));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(1));
    assert!(daemon.log().contains("received a second stop signal"));
    drop(half_body);

    has_all(directory.path(), PRELOADED);
}

/// The lock is a pipe that nothing reads, so opening the log never ends.
#[test]
fn sigterm_ends_it_while_the_log_is_being_opened() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("data")).unwrap();
    mknodat(CWD, directory.path().join("data/lock"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let daemon = Launch::new(directory.path()).start();
    let log = directory.path().join("stderr");
    assert_eq!(daemon.operations("/readyz").0, 503);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!std::fs::read_to_string(log).unwrap().contains("the log is open"));
}

/// Checks that the log has these events, and none that was only begun.
fn has_all(directory: &Path, events: u64) {
    let daemon = Launch::new(directory).start().ready();
    assert_eq!(Api::connect(daemon.grpc).head(), events);
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    for n in 1..=events {
        assert_eq!(sender.deliver("again", &body(n)).unwrap().taken(), (n, true));
    }
}
