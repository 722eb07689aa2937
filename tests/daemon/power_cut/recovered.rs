//! What a daemon must have after power cuts, compared with what it says it has.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::get_event_request::Event as Which;
use cleat::proto::{GetEventRequest, GetHeadRequest};
use tonic::transport::Channel;

use super::load::{Acknowledged, body};
use crate::support::{Daemon, Sender};

/// For a start: some hundred times what it takes.
const START_MAX: Duration = Duration::from_secs(60);

/// What the next daemon must have.
#[derive(Default)]
pub struct Expected {
    /// Keys that a daemon had before, from position 1: what was in the log stays there.
    keys: Vec<String>,
    pub acknowledged: Vec<Acknowledged>,
}

impl Expected {
    /// Looks at all of it, and that the daemon takes a new event.
    pub fn look(&mut self, daemon: &Daemon) -> Result<(), String> {
        serves(daemon)?;
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
        self.grow(daemon)
    }

    /// Acknowledged, so it must be there from now on.
    fn grow(&mut self, daemon: &Daemon) -> Result<(), String> {
        let id = format!("after-{}", self.keys.len());
        let answer = Sender::connect(daemon.webhooks).unwrap().deliver(&id, &body(&id, 0)).unwrap();
        let next = self.keys.len() as u64 + 1;
        if answer.status != 200 || answer.taken() != (next, false) {
            return Err(format!("a new event at {next} is answered {answer:?}"));
        }
        self.keys.push(format!("id:{id}"));
        Ok(())
    }
}

/// Whether it came up without complaint. Its log is the only witness of one that refuses to start.
fn serves(daemon: &Daemon) -> Result<(), String> {
    // The views are made anew if they were cut while they opened: that is told, and no loss.
    let of_views = |line: &&str| line.contains("the views could not be opened last time");
    // A power cut may tear the slot of the witness that was written.
    let of_witness = |line: &&str| line.contains("the file `witness` is not whole");
    let of_creation = |line: &&str| line.contains("a new log is made");
    // Warnings of the configuration: these tests run as root, with a file that others may read.
    let of_configuration = |line: &&str| line.contains(r#""target":"cleat::cli::serve""#);
    let complains = |log: &str| {
        let expected = |line: &&str| of_views(line) || of_witness(line) || of_creation(line) || of_configuration(line);
        let mut lines = log.lines().filter(|line| !expected(line));
        lines.any(|line| line.contains(r#""level":"ERROR""#) || line.contains(r#""level":"WARN""#))
    };
    let deadline = Instant::now() + START_MAX;
    loop {
        let log = daemon.log();
        if complains(&log) {
            return Err(log);
        }
        if log.contains(r#""message":"serving""#) {
            return Ok(());
        }
        // sled may never come back from files that were not synced.
        if Instant::now() >= deadline {
            return Err(format!("it neither serves nor says why not: {log}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The keys of all its events: gapless up to its head.
fn keys(daemon: &Daemon) -> Result<Vec<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut events = EventServiceClient::connect(format!("http://{}", daemon.grpc)).await.unwrap();
        let head = events.get_head(GetHeadRequest {}).await.unwrap().into_inner().position;
        let mut keys = Vec::new();
        for position in 1..=head {
            keys.push(key(&mut events, position).await?);
        }
        Ok(keys)
    })
}

async fn key(events: &mut EventServiceClient<Channel>, position: u64) -> Result<String, String> {
    let request = GetEventRequest { tenant: String::new(), event: Some(Which::Position(position)) };
    let answer = events.get_event(request).await.map_err(|status| format!("position {position}: {status}"))?;
    let event = answer.into_inner().event.unwrap();
    if event.position != position {
        return Err(format!("position {position} answers with {}", event.position));
    }
    Ok(event.event_key)
}

/// Every acknowledged event is where it was, and sent again it is a duplicate from there.
fn holds(daemon: &Daemon, keys: &[String], acknowledged: &[Acknowledged]) -> Result<(), String> {
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    for Acknowledged { id, body, position } in acknowledged {
        let there = usize::try_from(*position).ok().and_then(|position| keys.get(position - 1));
        if there != Some(&format!("id:{id}")) {
            let (head, all) = (keys.len(), acknowledged.len());
            return Err(format!("{id}, one of {all} acknowledged, was at {position}; there is {there:?}, head {head}"));
        }
        let answer = sender.deliver(id, body).unwrap();
        if answer.status != 200 || answer.taken() != (*position, true) {
            return Err(format!("{id} was acknowledged at {position}; sent again it is answered {answer:?}"));
        }
    }
    Ok(())
}
