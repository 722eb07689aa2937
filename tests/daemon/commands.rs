//! Snapshot of the commands' output for a person. Times and random ids are masked; runs of spaces become two.

use std::fmt::Write as _;
use std::path::Path;

use crate::support::{Cli, Daemon, Launch, until};

fn masked(text: &str) -> String {
    let word = |word: &str| match word.parse::<jiff::Timestamp>() {
        Ok(_) => "TIME".to_owned(),
        Err(_) if word.starts_with("whid:") => "whid:ID".to_owned(),
        Err(_) => word.to_owned(),
    };
    let cells = |line: &str| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(|cell| cell.split(' ').map(word).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("  ")
    };
    text.lines().map(|line| cells(line) + "\n").collect()
}

/// Starts a daemon and sends the events of a patient, an export that failed, an unreadable body, and a delivery with a
/// wrong signature.
fn seeded_daemon(directory: &Path) -> (Daemon, Cli) {
    let daemon = Launch::new(directory).start().ready();
    let cli = Cli::of(&daemon);
    let unreadable = directory.join("unreadable");
    std::fs::write(&unreadable, "not json").unwrap();
    let fixture = |name: &str| format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    for name in ["connection_success.live", "ehi_export_success.2026", "ehi_export_failed", "authorization_revoked"] {
        cli.succeeds(&["send", "--body", &fixture(name)]);
    }
    cli.succeeds(&["send", "--body", unreadable.to_str().unwrap()]);
    let wrong = "whsec_d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3I=";
    assert_eq!(cli.call(&["send", "--secret", wrong, "--body", unreadable.to_str().unwrap()]).code, 1);
    let status = || cli.succeeds(&["status", "-o", "json"]);
    until("all is applied", || status().contains("\"viewsPosition\": \"5\""));
    (daemon, cli)
}

#[test]
fn each_command_prints_what_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (_daemon, cli) = seeded_daemon(directory.path());
    let mut printed = String::new();
    for words in [
        "connections get a1b2c3d4-0000-4000-8000-000000000001",
        "connections list --status revoked",
        "connections list --status authorized --awaiting-export-for 1h",
        "connections summary",
        "connections history a1b2c3d4-0000-4000-8000-000000000001",
        "exports list",
        "exports list --status ready --deadline-within 24h",
        "exports get 00c9aa11bb22cc33dd44ee55ff660077",
        "exports links 00c9aa11bb22cc33dd44ee55ff660077",
        "events read --to 4",
        "events read --unreadable",
        "rejected",
        "import FIXTURES/ehi_export_failed.token_refresh.json --dry-run",
        "import FIXTURES/ehi_export_failed.token_refresh.json FIXTURES/ehi_export_failed.json",
        "events get 6",
        "events read --conflicting",
        "events read --mismatched",
        "connections list --order-by last_recorded_at --limit 1",
    ] {
        let fixtures = format!("{}/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
        let words_with_paths = words.replace("FIXTURES", &fixtures);
        let output = cli.succeeds(&words_with_paths.split(' ').collect::<Vec<_>>());
        writeln!(printed, "$ cleat {words}\n{}", masked(&output)).unwrap();
    }
    let snapshot = format!("{}/tests/daemon/commands.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("CLEAT_NEW_SNAPSHOT").is_some() {
        std::fs::write(&snapshot, &printed).unwrap();
    }
    let expected = std::fs::read_to_string(&snapshot).unwrap();
    assert_eq!(
        printed, expected,
        "if it is meant: CLEAT_NEW_SNAPSHOT=1 cargo test each_command, and look at the difference"
    );
}

#[test]
fn output_for_programs_is_json_with_the_names_of_the_api() {
    let directory = tempfile::tempdir().unwrap();
    let (_daemon, cli) = seeded_daemon(directory.path());
    for (words, field) in [
        ("connections summary", "statuses"),
        ("connections history a1b2c3d4-0000-4000-8000-000000000001", "connection"),
        ("exports list", "taskId"),
        ("exports links 00c9aa11bb22cc33dd44ee55ff660077", "links"),
        ("events get 1", "body"),
        ("events get id:3f0c1f0e-7a58-4f0e-9a0b-2f2b8a1d0c01", "webhookId"),
        ("events read", "position"),
        ("rejected", "reason"),
        ("status", "logId"),
    ] {
        let words: Vec<_> = words.split(' ').chain(["-o", "ndjson"]).collect();
        let first = cli.succeeds(&words).lines().next().unwrap().to_owned();
        let json: serde_json::Value = serde_json::from_str(&first).unwrap();
        assert!(json.get(field).is_some(), "{words:?}: {first}");
    }
    assert_eq!(cli.call(&["exports", "links", "nobody"]).code, 3);
    assert_eq!(cli.call(&["connections", "list", "--changed-after", "yesterday"]).code, 2);
}
