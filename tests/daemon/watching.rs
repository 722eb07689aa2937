//! `connections watch` as a service runs it: it reconnects automatically, keeps its place, and hands each change to a
//! command.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::bodies;

use crate::support::{Cli, Daemon, Launch, Sender, until};

/// Returns a free address, which the next daemon can use again.
fn address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn start(directory: &Path, grpc: &str) -> Daemon {
    Launch { grpc, ..Launch::new(directory) }.start().ready()
}

fn connects(daemon: &Daemon, numbers: std::ops::RangeInclusive<u64>) {
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    for number in numbers {
        let data = json!({ "org_connection_id": format!("c{number}"), "connection_status": "authorized" });
        let body = bodies::undated("patient.connection_success", &format!("e{number}"), &data);
        assert_eq!(
            sender.deliver(&format!("m{number}"), body.to_string().as_bytes()).unwrap().taken(),
            (number, false)
        );
    }
}

/// Returns the complete lines that `-o ndjson` has printed.
fn messages(printed: &str) -> impl Iterator<Item = Value> {
    let whole = printed.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap())
}

fn position(message: &Value) -> u64 {
    message["position"].as_str().unwrap().parse().unwrap()
}

/// Returns the positions of the changes.
fn positions(printed: &str) -> Vec<u64> {
    messages(printed).filter(|message| message.get("changeBatch").is_some()).map(|message| position(&message)).collect()
}

#[test]
fn watch_outlives_any_end_of_the_daemon_and_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let grpc = address();
    let mut daemon = start(directory.path(), &grpc);
    let mut watch = Cli::of(&daemon).runs(&["connections", "watch", "--heartbeat", "1s", "-o", "ndjson"]);
    until("it watches", || watch.stdout().contains("caughtUp"));
    let mut last = 0;
    for ends in 0..3 {
        connects(&daemon, last + 1..=last + 20);
        last += 20;
        match ends {
            0 => daemon.kill(),
            1 => assert_eq!(daemon.terminate().code(), Some(0)),
            _ => {
                // The daemon is there, but sends nothing.
                until("all is printed", || positions(&watch.stdout()).len() as u64 == last);
                daemon.signal(Signal::STOP);
                until("it is noticed", || watch.stderr().contains("the daemon says nothing"));
                daemon.signal(Signal::CONT);
                connects(&daemon, last + 1..=last + 20);
                last += 20;
                daemon.kill();
            }
        }
        daemon = start(directory.path(), &grpc);
    }
    until("all is printed", || positions(&watch.stdout()).len() as u64 >= last);
    assert!(positions(&watch.stdout()).into_iter().eq(1..=last), "{}", watch.stderr());
    assert!(!watch.has_ended());
}

#[test]
fn a_watch_of_events_outlives_the_daemon_too() {
    let directory = tempfile::tempdir().unwrap();
    let grpc = address();
    let daemon = start(directory.path(), &grpc);
    connects(&daemon, 1..=10);
    let place = directory.path().join("place");
    let words = ["events", "watch", "--after", "0", "-o", "ndjson", "--token-file", place.to_str().unwrap()];
    let mut watch = Cli::of(&daemon).runs(&words);
    let all_positions = |printed: &str| messages(printed).map(|event| position(&event)).collect::<Vec<_>>();
    until("it prints what was", || all_positions(&watch.stdout()).len() == 10);
    daemon.kill();
    let daemon = start(directory.path(), &grpc);
    connects(&daemon, 11..=20);
    until("it prints what is", || all_positions(&watch.stdout()).len() >= 20);
    watch.interrupt();
    assert_eq!(watch.ended(), 0, "{}", watch.stderr());
    connects(&daemon, 21..=30);
    let later = Cli::of(&daemon).runs(&words);
    until("another run goes on", || all_positions(&later.stdout()).len() >= 10);
    let all = [all_positions(&watch.stdout()), all_positions(&later.stdout())].concat();
    assert!(all.iter().copied().eq(1..=30), "{all:?}");
}

#[test]
fn a_run_goes_on_where_the_last_one_with_its_file_ended() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = start(directory.path(), "127.0.0.1:0");
    let place = directory.path().join("place");
    let words = ["connections", "watch", "--token-file", place.to_str().unwrap(), "-o", "ndjson"];
    let run = |reaches: u64, meanwhile: &dyn Fn()| {
        let mut watch = Cli::of(&daemon).runs(&words);
        until("it watches", || watch.stdout().contains("caughtUp"));
        meanwhile();
        until("it prints", || positions(&watch.stdout()).last() == Some(&reaches));
        watch.interrupt();
        assert_eq!(watch.ended(), 0, "{}", watch.stderr());
        positions(&watch.stdout())
    };
    assert!(run(10, &|| connects(&daemon, 1..=10)).into_iter().eq(1..=10));
    // No watch runs.
    connects(&daemon, 11..=20);
    assert!(run(30, &|| connects(&daemon, 21..=30)).into_iter().eq(11..=30));

    std::fs::write(&place, "no token").unwrap();
    let ended = Cli::of(&daemon).call(&words);
    assert_eq!((ended.code, ended.stderr.contains("INVALID_RESUME_TOKEN")), (1, true), "{}", ended.stderr);
}

#[test]
fn watch_comes_back_after_damaged_views_and_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let launch = || Launch { config: "[views]\ncheckpoint_events = 20\n", ..Launch::new(directory.path()) };
    let place = directory.path().join("place");
    let words = ["connections", "watch", "--token-file", place.to_str().unwrap(), "-o", "ndjson"];
    let daemon = launch().start().ready();
    let mut before = Cli::of(&daemon).runs(&words);
    until("it watches", || before.stdout().contains("caughtUp"));
    before.interrupt();
    assert_eq!(before.ended(), 0, "{}", before.stderr());
    connects(&daemon, 1..=100);
    assert_eq!(daemon.terminate().code(), Some(0));

    let daemon = launch().start().ready();
    let changes = directory.path().join("data/views/1/changes/00000000000000000001.open");
    let mut bytes = std::fs::read(&changes).unwrap();
    bytes.iter_mut().skip(500).step_by(97).for_each(|byte| *byte ^= 4);
    OpenOptions::new().write(true).open(changes).unwrap().write_all(&bytes).unwrap();
    let after = Cli::of(&daemon).runs(&words);
    until("all is printed", || positions(&after.stdout()).len() >= 100);
    assert!(positions(&after.stdout()).into_iter().eq(1..=100), "{}", after.stderr());
    assert!(after.stderr().contains("damaged"), "{}", after.stderr());
}

#[test]
fn a_command_gets_each_change_after_it_took_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = start(directory.path(), "127.0.0.1:0");
    connects(&daemon, 1..=2);
    let taken = directory.path().join("taken");
    let failing = directory.path().join("failing");
    std::fs::write(&failing, "").unwrap();
    // The command fails at position 3 while that file exists.
    let command = format!(
        "test \"$CLEAT_POSITION\" != 3 -o ! -e {failing} || exit 7; cat >> {taken}",
        failing = failing.display(),
        taken = taken.display()
    );
    let watch = Cli::of(&daemon).runs(&["connections", "watch", "--snapshot", "--exec", &command]);
    let lines = || std::fs::read_to_string(&taken).map_or(0, |text| text.lines().count());
    until("it has the snapshot", || lines() == 2);
    connects(&daemon, 3..=5);
    until("it fails", || watch.stderr().contains("the command failed at position 3 (exit status: 7)"));
    assert_eq!(lines(), 2, "nothing overtakes it");
    std::fs::remove_file(&failing).unwrap();
    until("it takes all", || lines() == 5);
    let text = std::fs::read_to_string(&taken).unwrap();
    let changes = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let shown = changes.map(|change| format!("{} {}", change["effect"], change["connection"]["orgConnectionId"]));
    let shown = shown.map(|line| line.replace('"', ""));
    let expected = (1..=5).map(|number| format!("EFFECT_ENTERED c{number}"));
    assert!(shown.eq(expected), "{text}");
}
