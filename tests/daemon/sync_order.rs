//! The order of system calls: an event's bytes are written, then synced, and only then acknowledged.
//!
//! strace shows every write and sync of the daemon. An event is found in the write that carries it by its body: random
//! bytes, which compression leaves as they are. This shows the order of the calls, not that the disk obeys a sync; the
//! power cuts show that.

mod trace;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::preload;
use crate::support::{Daemon, Launch, Sender, skip, until};
use trace::{Call, parse};

/// File of a journal.
const DB: &str = "/data/log/journal-00000000000000000001/db";
/// Size at which a block holds one event, and little of it can be compressed.
const BODY_BYTES: usize = 5000;
const ALONE: u64 = 30;
const SENDERS: u64 = 8;
const EACH: u64 = 10;

/// An event that was acknowledged.
struct Acknowledged {
    position: u64,
    body: Vec<u8>,
}

impl Acknowledged {
    /// Returns bytes from the middle of the body: enough to be there only once.
    fn mark(&self) -> &[u8] {
        &self.body[BODY_BYTES / 2..][..32]
    }
}

/// Returns a message for each event that was not written, synced and answered in this order.
fn violations(calls: &[Call], events: &[Acknowledged]) -> Vec<String> {
    events.iter().filter_map(|event| violation(calls, event).map(|why| format!("{}: {why}", event.position))).collect()
}

fn violation(calls: &[Call], event: &Acknowledged) -> Option<&'static str> {
    let on_log = |call: &&Call| call.path.contains("/log/journal-") && call.path.ends_with("/db");
    let Some(answer) = calls.iter().find(|call| acknowledges(call, event.position)) else {
        return Some("the answer is not in the trace");
    };
    let mut writes = calls.iter().filter(on_log).filter(|call| call.name.starts_with("pwrite"));
    let Some(write) = writes.find(|call| contains(&call.bytes, event.mark())) else {
        return Some("no write to the log has it");
    };
    let Some(written) = write.returned else { return Some("its write never returned") };
    let mut syncs = calls.iter().filter(on_log).filter(|call| call.name == "fdatasync" && call.result == 0);
    let in_time = |sync: &Call| sync.began > written && sync.returned.is_some_and(|synced| synced < answer.began);
    if syncs.any(in_time) {
        None
    } else {
        Some("no sync of the log began after its write and returned before its answer")
    }
}

fn acknowledges(call: &Call, position: u64) -> bool {
    let said = format!("\"position\":{position},");
    call.path.starts_with("socket:")
        && call.bytes.starts_with(b"HTTP/1.1 200")
        && contains(&call.bytes, said.as_bytes())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Sends events one at a time, then with many senders at once. Returns the daemon's system calls and the events.
fn traced(directory: &Path, env: &[(&str, &str)]) -> (Vec<Call>, Vec<Acknowledged>) {
    let output = directory.join("trace");
    let calls = "trace=pwrite64,pwritev,fdatasync,fsync,write,writev,sendto,sendmsg";
    let strace = ["strace", "-D", "-f", "-ttt", "-y", "-xx", "-s", "1000000", "-e", calls, "-o"];
    let wrapped = [&strace[..], &[output.to_str().unwrap()]].concat();
    let daemon = Launch { wrapped: &wrapped, env, ..Launch::new(directory) }.start().ready();
    let events = Mutex::new(Vec::new());
    send(&daemon, 0, ALONE, &events);
    std::thread::scope(|scope| {
        for sender in 1..=SENDERS {
            let (daemon, events) = (&daemon, &events);
            scope.spawn(move || send(daemon, sender, EACH, events));
        }
    });
    let end = format!("{} ", daemon.pid());
    assert!(daemon.terminate().success());
    let mut text = String::new();
    until("strace has written all", || {
        text = std::fs::read_to_string(&output).unwrap();
        text.lines().any(|line| line.starts_with(&end) && line.ends_with("+++ exited with 0 +++"))
    });
    (parse(&text), events.into_inner().unwrap())
}

fn send(daemon: &Daemon, sender: u64, count: u64, events: &Mutex<Vec<Acknowledged>>) {
    let mut random = StdRng::seed_from_u64(sender);
    let mut connection = Sender::connect(daemon.webhooks).unwrap();
    for n in 0..count {
        let mut body = vec![0; BODY_BYTES];
        random.fill(&mut body[..]);
        let (position, _) = connection.deliver(&format!("{sender}-{n}"), &body).unwrap().taken();
        events.lock().unwrap().push(Acknowledged { position, body });
    }
}

/// Returns why this machine cannot trace. `None` if it can.
fn missing() -> Option<&'static str> {
    let traced = Command::new("strace").args(["-D", "-o", "/dev/null", "true"]).output();
    let works = traced.is_ok_and(|output| output.status.success());
    (!works).then_some("strace is not there, or may not trace")
}

#[test]
fn every_answer_follows_a_sync_begun_after_its_events_write() {
    if let Some(why) = missing() {
        return skip(why);
    }
    let directory = tempfile::tempdir().unwrap();
    let (calls, events) = traced(directory.path(), &[]);
    assert_eq!(events.len() as u64, ALONE + SENDERS * EACH);
    let found = violations(&calls, &events);
    assert!(found.is_empty(), "{} of {}, the first is {}", found.len(), events.len(), found[0]);
}

#[test]
fn the_check_of_the_order_notices_a_missing_fdatasync() {
    if let Some(why) = missing() {
        return skip(why);
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = preload::compile(directory.path(), preload::NO_SYNC) else {
        return skip("leaving out the sync needs a C compiler");
    };
    let (calls, events) = traced(directory.path(), &[("LD_PRELOAD", &library)]);
    let unsynced = violations(&calls, &events);
    assert_eq!(unsynced.len(), events.len());
    let expected = "no sync of the log began after its write and returned before its answer";
    let other = unsynced.iter().find(|violation| !violation.ends_with(expected));
    assert_eq!(other, None);
}

#[test]
fn a_sync_that_begins_too_early_or_ends_too_late_is_not_enough() {
    let event = Acknowledged { position: 3, body: (0..BODY_BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect() };
    let call = |name: &str, path: &str, bytes: &[u8], began, returned| Call {
        name: name.into(),
        path: path.into(),
        bytes: bytes.to_vec(),
        began,
        returned: Some(returned),
        result: 0,
    };
    let write = call("pwrite64", DB, &event.body, 1, 3);
    let answer = call("writev", "socket:[1]", b"HTTP/1.1 200 OK\r\n\r\n{\"position\":3,", 8, 9);
    let verdict = |path: &str, began, returned| {
        violation(&[write.clone(), call("fdatasync", path, b"", began, returned), answer.clone()], &event)
    };
    assert_eq!(verdict(DB, 4, 7), None);
    let too_late = Some("no sync of the log began after its write and returned before its answer");
    assert_eq!(verdict(DB, 2, 7), too_late);
    assert_eq!(verdict(DB, 4, 9), too_late);
    assert_eq!(verdict("/data/witness", 4, 7), too_late);
    assert_eq!(violation(std::slice::from_ref(&write), &event), Some("the answer is not in the trace"));
    assert_eq!(violation(std::slice::from_ref(&answer), &event), Some("no write to the log has it"));
}
