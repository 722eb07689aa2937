//! Output of the command line for values that a stranger chose: nothing that a terminal acts on, and no panic.

use std::path::Path;

use serde_json::{Value, json};
use testkit::bodies;

use crate::support::{Cli, Daemon, Ended, Launch, Sender};

/// ESC, BEL, CR, LF, C1's CSI, DEL, a right-to-left override, an isolate, marks of direction, a line separator.
const HOSTILE: &str = "x\u{1b}[31m\u{7}\r\nforged  row\u{9b}2J\u{7f}\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}y";

fn is_forbidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Checks that neither output has forbidden characters other than ends of lines, and that nothing panicked: a panic has
/// the code 101.
#[track_caller]
fn is_harmless(ended: &Ended) {
    for text in [&ended.stdout, &ended.stderr] {
        let found = text.chars().find(|&c| c != '\n' && is_forbidden(c));
        assert_eq!(found, None, "{text:?}");
    }
    assert!(ended.code < 5 && !ended.stderr.contains("panicked"), "{}: {}", ended.code, ended.stderr);
}

fn hostile_events() -> Vec<Value> {
    let event = |id: &str, kind: &str, data: Value| bodies::dated("2026-05-01T00:00:00Z", kind, id, &data);
    let connection = |id: &str, external_id: &str, status: &str| {
        json!({ "org_connection_id": id, "connection_status": status, "platform_type": HOSTILE,
            "external_id": external_id, "external_state": HOSTILE, "request_id": HOSTILE, "scope": HOSTILE })
    };
    let link =
        json!({ "url": format!("https://example.org/{HOSTILE}"), "export_type": HOSTILE, "content_type": HOSTILE });
    let export = json!({ "org_connection_id": "c", "task_id": HOSTILE, "org_id": HOSTILE, "download_links": [link] });
    vec![
        event(HOSTILE, "patient.connection_success", connection("c", HOSTILE, HOSTILE)),
        event("2", "patient.connection_success", connection("long", &"x".repeat(70_000), "authorized")),
        event("3", "patient.ehi_export_success", export),
        event("4", &format!("patient.{HOSTILE}"), json!({ "org_connection_id": "c" })),
    ]
}

fn daemon_with(directory: &Path, events: &[Value]) -> Daemon {
    let daemon = Launch::new(directory).start().ready();
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    for (at, event) in events.iter().enumerate() {
        sender.deliver(&format!("msg_{at}"), event.to_string().as_bytes()).unwrap().taken();
    }
    daemon
}

#[test]
fn hostile_values_are_escaped_by_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = daemon_with(directory.path(), &hostile_events());
    let cli = Cli::of(&daemon);
    let commands: &[&[&str]] = &[
        &["connections", "list"],
        &["connections", "get", "c"],
        &["connections", "get", "long"],
        &["connections", "get", HOSTILE],
        &["connections", "history", "c"],
        &["connections", "summary"],
        &["exports", "list"],
        &["exports", "get", HOSTILE],
        &["exports", "links", HOSTILE],
        &["events", "read"],
        &["events", "get", "1"],
        &["events", "get", "2"],
        &["rejected"],
    ];
    for command in commands {
        for output in ["table", "json", "ndjson"] {
            let ended = cli.call(&[*command, &["-o", output]].concat());
            is_harmless(&ended);
            assert_eq!(ended.code, if *command == ["connections", "get", HOSTILE] { 3 } else { 0 }, "{command:?}");
            if output == "ndjson" {
                assert!(ended.stdout.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{command:?}");
            }
        }
    }

    let list = cli.succeeds(&["connections", "list"]);
    assert_eq!(list.lines().count(), 3, "a header and two connections: {list}");
    assert!(list.lines().all(|line| line.chars().count() < 6 * 64), "{list}");
    assert!(list.contains(r"x\u{1b}[31m\u{7}\r\nforged"), "{list}");
    let whole = cli.succeeds(&["connections", "get", "long"]);
    assert!(whole.contains(&"x".repeat(1900)) && whole.contains("cut sha256:"), "as the state keeps it: {whole}");
    let listed = cli.succeeds(&["connections", "list", "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["externalId"], HOSTILE);
}

#[test]
fn hostile_values_are_escaped_by_watches() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = daemon_with(directory.path(), &hostile_events());
    let cli = Cli::of(&daemon);
    for (words, lines) in [
        (&["connections", "watch", "--snapshot"], 3),
        (&["connections", "watch", "--snapshot", "-o", "ndjson"], 4),
        (&["events", "watch", "--after", "0"], 4),
        (&["events", "watch", "--after", "0", "-o", "ndjson"], 4),
    ] as [(&[&str], usize); 4]
    {
        let mut watch = cli.runs(words);
        for _ in 0..lines {
            let line = watch.line();
            assert!(!line.trim_end_matches('\n').contains(is_forbidden), "{words:?}: {line:?}");
        }
        watch.interrupt();
        let code = watch.ended();
        is_harmless(&Ended { code, stdout: watch.stdout(), stderr: watch.stderr() });
    }
}

#[test]
fn hostile_file_names_and_arguments_are_escaped_in_errors() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = daemon_with(directory.path(), &[]);
    let cli = Cli::of(&daemon);
    let file = directory.path().join(HOSTILE);
    for content in ["no JSON", "{\"no\": \"webhook\"}"] {
        std::fs::write(&file, content).unwrap();
        let ended = cli.call(&["import", file.to_str().unwrap()]);
        is_harmless(&ended);
        assert!(ended.code == 1 && ended.stderr.contains(r"\u{1b}[31m"), "{}", ended.stderr);
    }
    for command in [
        ["import", HOSTILE].as_slice(),
        &["check-config", "--config", HOSTILE],
        &["serve", "--config", HOSTILE],
        &["send", "--body", HOSTILE],
        &["connections", "list", "--status", HOSTILE],
        &["connections", HOSTILE],
        &["connections", "watch", "--token-file", "/nowhere/\u{1b}[31m/place"],
        &["status", "--address", HOSTILE],
    ] {
        let ended = cli.call(command);
        is_harmless(&ended);
        let quoted = ["\\u{1b}[31m", "\\u{202e}"].iter().any(|part| ended.stderr.contains(part));
        assert!(ended.code > 0 && quoted, "{command:?}: {}", ended.stderr);
    }
}
