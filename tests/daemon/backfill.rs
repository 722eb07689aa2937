//! Imports and readmitted events by the command line: through the daemon, and while it is stopped.

use std::path::Path;

use serde_json::{Value, json};
use testkit::bodies;

use crate::support::{Api, Cli, Ended, Launch};

fn payload(id: &str, date: &str, status: &str) -> Value {
    let kind = if status == "revoked" { "patient.authorization_revoked" } else { "patient.connection_success" };
    let data = json!({ "org_connection_id": "c", "connection_status": status, "external_id": "patient" });
    bodies::dated(date, kind, id, &data)
}

fn counts(ended: &Ended) -> (i32, [u64; 4]) {
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    let count = |name: &str| report[name].as_str().map_or(0, |count| count.parse().unwrap());
    (ended.code, ["imported", "duplicates", "conflicts", "refused"].map(count))
}

/// Writes a delivery log as a portal shows it, the newest first, and one as lines.
fn delivery_logs(directory: &Path) {
    std::fs::create_dir(directory).unwrap();
    let newest_first = json!([
        payload("e4", "2026-05-10T00:00:00Z", "authorized"),
        payload("e3", "2026-05-08T00:00:00Z", "revoked"),
        payload("e1", "2026-05-01T00:00:00Z", "authorized"),
    ]);
    std::fs::write(directory.join("portal.json"), serde_json::to_string_pretty(&newest_first).unwrap()).unwrap();
    let lines = [payload("e2", "2026-05-05T00:00:00Z", "authorized"), json!({"no": "webhook"})];
    std::fs::write(directory.join("lines.jsonl"), lines.map(|line| line.to_string()).join("\n")).unwrap();
    std::fs::write(directory.join(".hidden"), "no JSON").unwrap();
}

#[test]
fn delivery_logs_are_imported_once_in_the_order_of_their_dates() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).start().ready();
    let (cli, api) = (Cli::of(&daemon), Api::connect(daemon.grpc));
    let logs = directory.path().join("logs");
    delivery_logs(&logs);
    let logs = logs.to_str().unwrap();
    let import = |words: &[&str]| cli.call(&[&["import", logs, "-o", "json"], words].concat());

    let dry = import(&["--dry-run"]);
    assert_eq!((counts(&dry), api.head()), ((1, [4, 0, 0, 1]), 0));
    let done = import(&[]);
    assert_eq!((counts(&done), api.head()), ((1, [4, 0, 0, 1]), 4));
    let left_out = format!("{logs}/lines.jsonl: payload 2 (16 B): it has no type");
    assert!(
        done.stderr.contains(&left_out) && done.stderr.contains("1 of 5 payloads were left out"),
        "{}",
        done.stderr
    );
    assert_eq!(counts(&import(&[])).1, [0, 4, 0, 1]);

    let keys: Vec<_> = (1..=4).map(|position| api.event(position).event_key).collect();
    assert_eq!(keys, ["id:e1", "id:e2", "id:e3", "id:e4"]);
    let connection = &api.connections()[0];
    assert_eq!((connection.version, connection.reconnect_count, connection.order_ambiguous), (4, 1, false));
}

#[test]
fn unreadable_file_is_named_with_its_place_and_nothing_imported() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).start().ready();
    let (good, bad) = (directory.path().join("good.json"), directory.path().join("bad.json"));
    std::fs::write(&good, payload("e1", "2026-05-01T00:00:00Z", "authorized").to_string()).unwrap();
    std::fs::write(&bad, "{\"id\":\"a\"}\n{\"id\" \"sentinel\"}").unwrap();
    let cli = Cli::of(&daemon);
    let ended = cli.call(&["import", good.to_str().unwrap(), bad.to_str().unwrap(), "missing.json"]);
    assert_eq!(ended.code, 1);
    let unreadable = format!("{}:2:7: it is no JSON from here on", bad.display());
    for problem in [unreadable.as_str(), "missing.json: No such file"] {
        assert!(ended.stderr.contains(problem), "{problem} in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("sentinel"), "the contents of a file are not shown");
    assert_eq!(Api::connect(daemon.grpc).head(), 0);
    assert_eq!(cli.call(&["import", good.to_str().unwrap(), "--endpoint", "nobody"]).code, 1);
    assert!(cli.succeeds(&["import", good.to_str().unwrap()]).contains("imported"));
}

/// 2.5 MB is more than a message may hold; 300 KiB is more than the default of `webhooks.body_limit`.
#[test]
fn oversized_payloads_are_named_and_the_rest_is_imported() {
    let directory = tempfile::tempdir().unwrap();
    let (file, config) = (directory.path().join("payloads.jsonl"), directory.path().join("config.toml"));
    let (file, config) = (file.to_str().unwrap(), config.to_str().unwrap());
    let lines: Vec<String> = (1..=3001)
        .map(|at| {
            let mut payload = payload(&format!("e{at}"), "2026-05-01T00:00:00Z", "authorized");
            let padding = match at {
                1500 => 2_500_000,
                2000 => 300 * 1024,
                _ => 0,
            };
            payload["padding"] = "x".repeat(padding).into();
            payload.to_string()
        })
        .collect();
    std::fs::write(file, lines.join("\n")).unwrap();
    let daemon = Launch::new(directory.path()).start().ready();
    let cli = Cli::of(&daemon);
    let import = |words: &[&str]| {
        let ended = cli.call(&[&["import", file, "--config", config, "-o", "json"], words].concat());
        for at in [1500, 2000] {
            let named = format!("{file}: payload {at} ({} B): ", lines[at - 1].len());
            assert!(ended.stderr.contains(&named), "{named} in {}", ended.stderr);
        }
        assert!(ended.stderr.contains("2 of 3001 payloads were left out"), "{}", ended.stderr);
        counts(&ended)
    };
    assert_eq!(import(&[]), (1, [2999, 0, 0, 2]));
    assert_eq!(Api::connect(daemon.grpc).head(), 2999);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(import(&["--offline", "--trust-clock"]), (1, [0, 2999, 0, 2]));
}

#[test]
fn offline_import_runs_only_while_the_daemon_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let file = directory.path().join("payload.json");
    std::fs::write(&file, payload("e1", "2026-05-01T00:00:00Z", "authorized").to_string()).unwrap();
    let (file, config) = (file.to_str().unwrap(), config.to_str().unwrap());
    let cli = Cli::in_directory(directory.path());
    let offline = |words: &[&str]| {
        cli.call(&[&["import", file, "--offline", "--trust-clock", "--config", config, "-o", "json"], words].concat())
    };
    let daemon = Launch::new(directory.path()).start().ready();
    let beside = offline(&[]);
    assert_eq!(beside.code, 1);
    assert!(beside.stderr.contains("another process"), "{}", beside.stderr);
    assert_eq!(daemon.terminate().code(), Some(0));

    assert_eq!(counts(&offline(&["--dry-run"])), (0, [1, 0, 0, 0]));
    assert_eq!(counts(&offline(&[])), (0, [1, 0, 0, 0]));
    assert_eq!(counts(&offline(&[])), (0, [0, 1, 0, 0]));
    let daemon = Launch::new(directory.path()).start().ready();
    assert_eq!(Api::connect(daemon.grpc).connection("c").unwrap().external_id, "patient");
}

/// All payloads have the same date, so that their order in the file decides.
#[test]
fn an_offline_import_keeps_the_order_of_its_payloads() {
    const PAYLOADS: usize = 600;
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).start().ready();
    assert_eq!(daemon.terminate().code(), Some(0));
    let status = |at| if at == PAYLOADS { "revoked" } else { "authorized" };
    let lines = (1..=PAYLOADS).map(|at| payload(&format!("e{at}"), "2026-05-01T00:00:00Z", status(at)).to_string());
    let (file, config) = (directory.path().join("payloads.jsonl"), directory.path().join("config.toml"));
    std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let cli = Cli::in_directory(directory.path());
    let (file, config) = (file.to_str().unwrap(), config.to_str().unwrap());
    let words = ["import", file, "--offline", "--trust-clock", "--config", config, "-o", "json"];
    assert_eq!(counts(&cli.call(&words)), (0, [PAYLOADS as u64, 0, 0, 0]));

    let daemon = Launch::new(directory.path()).start().ready();
    let api = Api::connect(daemon.grpc);
    let keys: Vec<_> = (1..=PAYLOADS as u64).map(|position| api.event(position).event_key).collect();
    let expected: Vec<_> = (1..=PAYLOADS).map(|at| format!("id:e{at}")).collect();
    assert!(keys == expected, "first out of order: {:?}", keys.iter().zip(&expected).find(|(is, due)| is != due));
    assert_eq!(api.connection("c").unwrap().status(), cleat::proto::ConnectionStatus::Revoked);
}

#[test]
fn event_without_mode_is_readmitted_once_its_endpoint_has_one() {
    let directory = tempfile::tempdir().unwrap();
    let launch = |endpoint| Launch { endpoint, ..Launch::new(directory.path()) }.start().ready();
    let daemon = launch("api_mode = \"any\"");
    let cli = Cli::of(&daemon);
    let mut without_mode = payload("e1", "2026-05-01T00:00:00Z", "revoked");
    without_mode.as_object_mut().unwrap().remove("api_mode");
    let body = directory.path().join("body.json");
    std::fs::write(&body, without_mode.to_string()).unwrap();
    cli.succeeds(&["send", "--body", body.to_str().unwrap()]);
    let listed = cli.succeeds(&["events", "read", "--mismatched"]);
    assert!(listed.contains("unknown") && listed.trim_start().starts_with("1 "), "{listed}");
    let early = cli.call(&["events", "readmit", "1"]);
    assert_eq!((early.code, early.stderr.contains("fix the endpoint's mode first")), (1, true), "{}", early.stderr);
    assert_eq!(daemon.terminate().code(), Some(0));

    let daemon = launch("api_mode = \"live\"");
    let cli = Cli::of(&daemon);
    cli.succeeds(&["events", "readmit", "1"]);
    assert!(cli.succeeds(&["connections", "get", "c"]).contains("revoked"));
    let twice = cli.succeeds(&["events", "readmit", "1"]);
    assert!(twice.contains("it was there already"), "{twice}");
}

#[test]
fn mismatched_event_is_readmitted_once_its_endpoint_is_mended() {
    let directory = tempfile::tempdir().unwrap();
    let launch = |endpoint| Launch { endpoint, ..Launch::new(directory.path()) }.start().ready();
    let daemon = launch("api_mode = \"live\"");
    let cli = Cli::of(&daemon);
    cli.succeeds(&["send", "--test", "--connection", "c"]);
    let listed = cli.succeeds(&["events", "read", "--mismatched"]);
    assert!(listed.contains("mismatched") && listed.trim_start().starts_with("1 "), "{listed}");
    let early = cli.call(&["events", "readmit", "1"]);
    assert_eq!((early.code, early.stderr.contains("still not the one")), (1, true), "{}", early.stderr);
    assert_eq!(daemon.terminate().code(), Some(0));

    let daemon = launch("api_mode = \"any\"");
    let cli = Cli::of(&daemon);
    for expected in [&["1", "2"][..], &["1", "2", "it", "was", "there", "already"]] {
        let printed = cli.succeeds(&["events", "readmit", "1"]);
        assert_eq!(printed.lines().last().unwrap().split_whitespace().collect::<Vec<_>>(), expected);
    }
    assert!(cli.succeeds(&["connections", "get", "c", "--test"]).contains("authorized"));
    assert_eq!(cli.call(&["connections", "get", "c"]).code, 3, "it is no live one");
}
