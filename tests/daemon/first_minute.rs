//! README's promises for the first minute: the daemon and the commands, as a person or a script calls them.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::{Api, Cli, Launch, until};

const BUILT_IN: [&str; 3] = ["127.0.0.1:7480", "127.0.0.1:7481", "127.0.0.1:7482"];

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Returns the value next to a name in the output of `connections get`.
fn fact<'a>(table: &'a str, name: &str) -> Option<&'a str> {
    table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("  ")).map(str::trim)
}

#[test]
fn sent_events_are_shown_and_watched() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).start().ready();
    let cli = Cli::of(&daemon);
    let sent = json(&cli.succeeds(&["send"]));
    assert_eq!((&sent["position"], &sent["duplicate"]), (&Value::from(1), &Value::from(false)));
    Api::connect(daemon.grpc).catch_up();

    let shown = cli.succeeds(&["connections", "get", "conn-1"]);
    let facts = ["connection", "status", "external id", "version"].map(|name| fact(&shown, name));
    assert_eq!(facts, [Some("conn-1"), Some("authorized"), Some("patient-1"), Some("1")], "{shown}");

    let mut watch = cli.runs(&["connections", "watch", "--snapshot"]);
    assert_eq!(watch.words(), ["1", "is", "connection", "conn-1", "authorized", "patient-1", "epic", "1", "1"]);
    cli.succeeds(&["send", "export-success"]);
    assert_eq!(watch.words()[..4], ["2", "updated", "connection", "conn-1"]);
    assert_eq!(watch.words()[..3], ["2", "entered", "export"]);
    cli.succeeds(&["send", "authorization-revoked"]);
    assert_eq!(watch.words()[..5], ["3", "updated", "connection", "conn-1", "revoked"]);

    let rows = |external_id| cli.succeeds(&["connections", "list", "--external-id", external_id]).lines().count();
    assert_eq!((rows("patient-1"), rows("patient-2")), (2, 1), "with the header");
    assert!(daemon.terminate().success());
    assert_eq!(watch.words(), ["3", "the", "daemon", "is", "going", "away:", "SHUTTING_DOWN"]);
    until("it tries again", || watch.stderr().contains("trying again in"));
    watch.interrupt();
    assert_eq!(watch.ended(), 0);
    assert_eq!(cli.call(&["connections", "watch"]).code, 4, "what was never reached is not waited for");
}

#[test]
fn output_for_programs_parses() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).start().ready();
    let cli = Cli::of(&daemon);
    cli.succeeds(&["send", "--connection", "a"]);
    cli.succeeds(&["send", "--connection", "b", "--external-id", "patient-2"]);
    cli.succeeds(&["send", "--connection", "t", "--test"]);
    Api::connect(daemon.grpc).catch_up();
    for format in ["json", "ndjson"] {
        let one = json(&cli.succeeds(&["connections", "get", "a", "-o", format]));
        assert_eq!((&one["orgConnectionId"], &one["status"]), (&"a".into(), &"CONNECTION_STATUS_AUTHORIZED".into()));
    }
    let ids = |all: &[Value]| all.iter().map(|one| one["orgConnectionId"].clone()).collect::<Vec<_>>();
    let all = json(&cli.succeeds(&["connections", "list", "-o", "json"]));
    assert_eq!(ids(all.as_array().unwrap()), ["a", "b"]);
    let lines: Vec<Value> = cli.succeeds(&["connections", "list", "-o", "ndjson"]).lines().map(json).collect();
    assert_eq!(ids(&lines), ["a", "b"]);
    let test = json(&cli.succeeds(&["connections", "list", "--test", "-o", "json"]));
    assert_eq!(ids(test.as_array().unwrap()), ["t"]);

    let mut watch = cli.runs(&["connections", "watch", "--snapshot", "-o", "ndjson"]);
    let messages = ["started", "snapshotBatch", "snapshotEnd", "caughtUp"].map(|name| (name, json(&watch.line())));
    assert!(messages.iter().all(|(name, message)| message.get(name).is_some()), "{messages:?}");
    cli.succeeds(&["send", "authorization-revoked", "--connection", "b"]);
    let change = json(&watch.line());
    let connection = &change["changeBatch"]["changes"][0]["connection"];
    assert_eq!((&change["position"], &connection["orgConnectionId"]), (&"4".into(), &"b".into()), "{change}");
}

#[test]
fn exit_codes_are_as_documented() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).start().ready();
    let cli = Cli::of(&daemon);
    assert_eq!(cli.call(&["connections", "list"]).code, 0);
    let wrong_secret = ["send", "--secret", "whsec_d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3I="];
    assert_eq!(cli.call(&wrong_secret).code, 1);
    assert_eq!(cli.call(&["connections", "fetch"]).code, 2);
    let missing = cli.call(&["connections", "get", "nobody"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (3, ""));
    assert!(missing.stderr.contains("CONNECTION_NOT_FOUND"), "{}", missing.stderr);

    assert!(daemon.terminate().success());
    for command in [["connections", "list"].as_slice(), &["send"]] {
        let unreachable = cli.call(command);
        assert_eq!((unreachable.code, unreachable.stdout.as_str()), (4, ""), "{}", unreachable.stderr);
        assert!(unreachable.stderr.contains("is `cleat serve` running?"), "{}", unreachable.stderr);
    }
}

#[test]
fn daemon_that_hangs_up_without_an_answer_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hangs_up = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap(); // unread bytes turn the close into a reset
    });
    let unanswered = Cli::default().call(&["send", "--address", &address]);
    assert_eq!((unanswered.code, unanswered.stdout.as_str()), (4, ""), "{}", unanswered.stderr);
    hangs_up.join().unwrap();
}

#[test]
fn the_data_directory_is_readable_by_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let given = directory.path().metadata().unwrap().permissions();
    let daemon = Launch::new(directory.path()).start().ready();
    for made in ["data", "data/log"] {
        let mode = directory.path().join(made).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{made}");
    }
    assert_eq!(directory.path().metadata().unwrap().permissions(), given);
    assert!(daemon.terminate().success());
}

#[test]
fn a_configuration_is_checked_before_it_is_run() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("cleat.toml");
    let check = ["check-config", "--config", config.to_str().unwrap()];
    let cli = Cli::default();
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml"), &config).unwrap();
    let good = cli.call(&check);
    assert!(good.code == 0 && good.stdout.contains("endpoints fasten"), "{}", good.stderr);

    std::fs::write(&config, "[webhooks]\n\n  lisen = \"127.0.0.1:1\"\n").unwrap();
    for command in ["check-config", "serve"] {
        let refused = cli.call(&[command, check[1], check[2]]);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
        assert!(refused.stderr.contains("cleat.toml:3:3: ") && refused.stderr.contains("lisen"), "{}", refused.stderr);
    }
    assert_eq!(cli.call(&["check-config", "--config", "/nowhere.toml"]).code, 1);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let config = directory.path().join("cleat.toml");
    let text = format!(
        "[webhooks]\nlisten = \"127.0.0.1:0\"\n[[webhooks.endpoints]]\nname = \"fasten\"\nsecrets = [\"{}\"]\n\
         [operations]\nlisten = \"{taken}\"\n",
        cleat::config::DEVELOPMENT_SECRET
    );
    std::fs::write(&config, text).unwrap();
    let refused = Cli::in_directory(directory.path()).call(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains(&format!("cannot listen on {taken} for operations.listen")), "{}", refused.stderr);
    assert!(!directory.path().join("data").exists(), "no work is done before the ports are there");
}

/// Other processes may use these ports. The daemon must then name the address that is taken.
#[test]
fn without_a_configuration_it_listens_where_readme_says() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Cli::in_directory(directory.path()).runs(&["serve"]);
    until("it listens, or has ended", || daemon.stderr().contains(r#""message":"listening""#) || daemon.has_ended());
    if daemon.has_ended() {
        let log = daemon.stderr();
        assert!(BUILT_IN.iter().any(|address| log.contains(&format!("cannot listen on {address} for "))), "{log}");
        return;
    }
    let log = daemon.stderr();
    let listening = json(log.lines().find(|line| line.contains(r#""message":"listening""#)).unwrap());
    assert_eq!(["webhooks", "grpc", "operations"].map(|port| listening[port].as_str().unwrap()), BUILT_IN);
    until("it serves", || daemon.stderr().contains(r#""message":"serving""#));
    let cli = Cli::default();
    cli.succeeds(&["send"]);
    Api::connect(BUILT_IN[1].parse().unwrap()).catch_up();
    assert!(cli.succeeds(&["connections", "list"]).contains("conn-1"));
    assert!(directory.path().join("data/CLEAT").exists());
}
