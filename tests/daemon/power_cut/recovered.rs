//! The events that a daemon must have after power cuts, compared with its answers.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::{GetHeadRequest, ReadEventsRequest};

use super::load::{Acknowledged, body};
use crate::support::{Daemon, Sender};

/// Longest start: some hundred times the usual time.
const START_MAX: Duration = Duration::from_secs(60);

/// Warnings that a start may log after any cut.
const USUAL: [&str; 3] = [
    // A power cut may tear the slot that was written.
    "the file `witness` is not whole",
    // A life may end before lost runs are rebuilt.
    "no dedup run has the keys of these positions",
    // For example, the first half of a commit.
    "they count as an unacknowledged commit that a power cut tore",
];
/// Warning of a start in a directory without a log.
pub const NEW: &str = "creating a new log";

/// Events that the next daemon must have.
#[derive(Default)]
pub struct Expected {
    /// Keys that a daemon had before, from position 1: events that were in the log stay there.
    keys: Vec<String>,
    pub acknowledged: Vec<Acknowledged>,
}

impl Expected {
    /// Returns the expectation of a log with these events, from position 1.
    pub fn of(ids: impl Iterator<Item = String>) -> Self {
        Self { keys: ids.map(|id| format!("id:{id}")).collect(), acknowledged: Vec::new() }
    }

    /// Number of events found.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Checks everything. `notes` are warnings that the daemon may log in addition to the usual ones.
    pub fn check(&mut self, daemon: &Daemon, notes: &[&str]) -> Result<(), String> {
        serves(daemon, notes)?;
        let keys = keys(daemon)?;
        holds(daemon, &keys, &self.acknowledged)?;
        if !keys.starts_with(&self.keys) {
            return Err(format!("of {} events found before, some have gone or moved", self.keys.len()));
        }
        if keys.iter().collect::<HashSet<_>>().len() < keys.len() {
            return Err("an event has two positions".into());
        }
        self.keys = keys;
        self.acknowledged.clear();
        Ok(())
    }

    /// Sends a new event. Once acknowledged, it must be there from now on.
    pub fn grow(&mut self, daemon: &Daemon) -> Result<(), String> {
        let id = format!("after-{}", self.keys.len());
        let mut sender = Sender::connect(daemon.webhooks).unwrap();
        let delivered = sender.deliver_patiently(&id, &body(&id, 0, 600)).unwrap();
        let next = self.keys.len() as u64 + 1;
        if delivered.answer.status != 200 || delivered.as_new() != Some(next) {
            return Err(format!("a new event at {next} is answered {:?}", delivered.answer));
        }
        self.keys.push(format!("id:{id}"));
        Ok(())
    }
}

/// Waits until the daemon serves, and checks that it does not complain. A daemon that refuses to start shows this only
/// in its log.
fn serves(daemon: &Daemon, notes: &[&str]) -> Result<(), String> {
    let complains = |log: &str| log.lines().any(|line| is_complaint(line, notes));
    let deadline = Instant::now() + START_MAX;
    loop {
        let log = daemon.log();
        if complains(&log) {
            return Err(log);
        }
        if log.contains(r#""message":"serving""#) {
            return Ok(());
        }
        // sled may never return from files that were not synced.
        if Instant::now() >= deadline {
            return Err(format!("it neither serves nor says why not: {log}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a line is an error, or a warning that is neither usual nor among the notes.
fn is_complaint(line: &str, notes: &[&str]) -> bool {
    // A line may be half written.
    let line = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
    let message = line["message"].as_str().unwrap_or_default();
    let is_noted = USUAL.iter().chain(notes).any(|note| message.contains(note));
    // Warnings about the configuration: these tests run as root, with a file that others may read.
    let is_of_configuration = line["target"] == "cleat::cli::serve";
    line["level"] == "ERROR" || line["level"] == "WARN" && !is_noted && !is_of_configuration
}

/// Returns the keys of all events, gapless up to the head.
fn keys(daemon: &Daemon) -> Result<Vec<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = EventServiceClient::connect(format!("http://{}", daemon.grpc)).await.unwrap();
        let head = client.get_head(GetHeadRequest {}).await.unwrap().into_inner().position;
        let failed = |status| format!("events up to {head}: {status}");
        let mut parts = client.read_events(ReadEventsRequest::default()).await.map_err(failed)?.into_inner();
        let mut keys = Vec::new();
        while let Some(part) = parts.message().await.map_err(failed)? {
            for event in part.events {
                if event.position != keys.len() as u64 + 1 {
                    return Err(format!("after position {} comes {}", keys.len(), event.position));
                }
                keys.push(event.event_key);
            }
        }
        if keys.len() as u64 == head { Ok(keys) } else { Err(format!("{} events, head {head}", keys.len())) }
    })
}

/// Checks that every acknowledged event is where it was, and that it is a duplicate of that position if it is sent
/// again.
fn holds(daemon: &Daemon, keys: &[String], acknowledged: &[Acknowledged]) -> Result<(), String> {
    for Acknowledged { id, position, .. } in acknowledged {
        let there = usize::try_from(*position).ok().and_then(|position| keys.get(position - 1));
        if there != Some(&format!("id:{id}")) {
            let (head, all) = (keys.len(), acknowledged.len());
            return Err(format!("{id}, one of {all} acknowledged, was at {position}; there is {there:?}, head {head}"));
        }
    }
    let deliveries: Vec<_> = acknowledged.iter().map(|event| (event.id.as_str(), event.body.as_slice())).collect();
    let answers = Sender::connect(daemon.webhooks).unwrap().deliver_all(&deliveries).unwrap();
    for (Acknowledged { id, position, .. }, answer) in acknowledged.iter().zip(answers) {
        if answer.status != 200 || answer.taken() != (*position, true) {
            return Err(format!("{id} was acknowledged at {position}; sent again it is answered {answer:?}"));
        }
    }
    Ok(())
}
