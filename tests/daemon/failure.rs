//! A full disk: no event is acknowledged that is not durable, reads go on for a while, then the daemon exits.
//!
//! A limit on the size of files has this effect without root: writes beyond it fail with EFBIG.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use testkit::bodies;
use tonic::Code;

use crate::support::{Answer, Api, Cli, Daemon, Launch, Sender, until};

/// Command that limits files to 4 MiB, in the 512 B blocks of POSIX. A write beyond this gets no signal, only an error.
const LIMITED: [&str; 4] = ["sh", "-c", "trap '' XFSZ; ulimit -f 8192; exec \"$@\"", "sh"];
const SENDERS: u64 = 16;

/// Deliveries of one sender until it was refused.
struct Sent {
    /// Body and position of each, in order.
    acknowledged: Vec<(Vec<u8>, u64)>,
    refused: Answer,
}

/// Returns a body with random digits, which compression at most halves.
fn body(id: &str, random: &mut StdRng) -> Vec<u8> {
    let filler = (0..100).map(|_| format!("{:032x}", random.random::<u128>())).collect::<Vec<_>>().concat();
    let data = json!({ "org_connection_id": id, "connection_status": "authorized", "scope": filler });
    bodies::undated("patient.connection_success", id, &data).to_string().into_bytes()
}

fn send_until_refused(webhooks: SocketAddr, sender: u64) -> Sent {
    let mut random = StdRng::seed_from_u64(sender);
    let mut connection = Sender::connect(webhooks).unwrap();
    let mut acknowledged = Vec::new();
    for n in 0..10_000 {
        let id = format!("{sender}-{n}");
        let body = body(&id, &mut random);
        let answer = connection.deliver(&id, &body).unwrap();
        if answer.status != 200 {
            return Sent { acknowledged, refused: answer };
        }
        acknowledged.push((body, answer.taken().0));
    }
    panic!("the disk was never full");
}

fn assert_storage_failure(answer: &Answer) {
    assert_eq!((answer.status, answer.body["reason"].as_str()), (503, Some("STORAGE_READ_ONLY")), "{}", answer.body);
    assert!(answer.retry_after.is_some());
}

#[test]
fn full_disk_acknowledges_nothing_allows_reads_and_then_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[shutdown]\nafter_storage_failure = \"10s\"\n";
    let launch = Launch { wrapped: &LIMITED, config, ..Launch::new(directory.path()) };
    let mut daemon = launch.start().ready();
    let webhooks = daemon.webhooks;
    let senders: Vec<_> = (0..SENDERS).map(|n| thread::spawn(move || send_until_refused(webhooks, n))).collect();
    let sent: Vec<Sent> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();

    for sent in &sent {
        assert_storage_failure(&sent.refused);
    }
    assert_storage_failure(&Sender::connect(webhooks).unwrap().deliver("later", b"{}").unwrap());
    assert_eq!(Cli::of(&daemon).call(&["send"]).code, 4, "it cannot answer now");
    let fixture = format!("{}/tests/fixtures/ehi_export_failed.json", env!("CARGO_MANIFEST_DIR"));
    let import = Cli::of(&daemon).call(&["import", &fixture]);
    assert_eq!((import.code, import.stderr.contains("STORAGE_READ_ONLY")), (4, true), "{}", import.stderr);
    until("it says why", || {
        let (status, why) = daemon.operations("/readyz");
        status == 503 && why.contains("the log accepts no more events")
    });
    assert_eq!(daemon.operations("/livez").0, 200);
    let api = Api::connect(daemon.grpc);
    assert_eq!(api.connection("0-0").unwrap().org_connection_id, "0-0");
    assert_eq!(api.connection("later").unwrap_err().code(), Code::NotFound);
    drop(api);
    let status = daemon.ended();
    assert!(status.code().is_some_and(|code| code != 0), "{status}: {}", daemon.log());
    logs_only_lines_of_json(&daemon);

    has_all(directory.path(), &sent);
}

#[test]
fn a_stop_while_reads_go_on_does_not_hide_the_failure() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[shutdown]\nafter_storage_failure = \"10m\"\n";
    let launch = Launch { wrapped: &LIMITED, config, ..Launch::new(directory.path()) };
    let daemon = launch.start().ready();
    assert_storage_failure(&send_until_refused(daemon.webhooks, 0).refused);
    let log = directory.path().join("stderr");
    assert_eq!(daemon.terminate().code(), Some(1));
    let logged = std::fs::read_to_string(log).unwrap();
    let last: serde_json::Value = serde_json::from_str(logged.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().unwrap().starts_with("the log accepts no more events: "), "{last}");
}

fn logs_only_lines_of_json(daemon: &Daemon) {
    let log = daemon.log();
    let plain = log.lines().find(|line| serde_json::from_str::<serde_json::Value>(line).is_err());
    assert_eq!(plain, None);
}

/// Starts without the limit, and checks that everything acknowledged is there.
fn has_all(directory: &Path, sent: &[Sent]) {
    let daemon = Launch::new(directory).start().ready();
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    let acknowledged: Vec<_> = sent.iter().flat_map(|sent| &sent.acknowledged).collect();
    assert!(acknowledged.len() > 500, "{}", acknowledged.len());
    for (body, position) in acknowledged {
        assert_eq!(sender.deliver("again", body).unwrap().taken(), (*position, true));
    }
    assert_eq!(sender.deliver("new", b"{}").unwrap().taken(), (Api::connect(daemon.grpc).head(), false));
}
