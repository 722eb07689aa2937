//! A daemon that may refuse to start, and its answers. Each step has a time limit: a hang is a fault.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::time::{Duration, Instant};

use cleat::proto::connection_service_client::ConnectionServiceClient;
use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::get_event_request::Event as Which;
use cleat::proto::read_consistency::Requirement;
use cleat::proto::watch_connections_response::Message;
use cleat::proto::watch_start::Position as From;
use cleat::proto::{
    Change, Connection, Event, GetEventRequest, GetHeadRequest, ListConnectionsRequest, ReadConsistency,
    ReadEventsRequest, WatchConnectionsRequest, WatchStart,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::prepared::{CONFIG, ENDPOINT};
use crate::support::{Addresses, SECRET};

pub const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// Description of a fault of the daemon.
pub type Fault = String;

/// A process `cleat serve` over `<directory>/data`. It is killed on drop.
pub struct Child {
    process: Process,
    log: PathBuf,
}

/// Result of a start.
pub enum Started {
    /// Exit code. `None` if a signal ended the process.
    Refused(Option<i32>),
    Open(Open),
}

/// A daemon that answers.
pub struct Open {
    pub webhooks: SocketAddr,
    pub grpc: SocketAddr,
    runtime: Runtime,
    channel: Channel,
    pub head: u64,
}

/// Changes of a position.
#[derive(Debug, PartialEq)]
pub struct Changed {
    pub position: u64,
    pub changes: Vec<Change>,
}

impl Child {
    /// Starts a daemon. `more` is added to the section `[data]` of the configuration.
    pub fn start(directory: &Path, more: &str) -> Self {
        let config = directory.join("config.toml");
        let data = directory.join("data");
        let text = format!(
            "[data]\ndirectory = \"{}\"\n{more}\n[webhooks]\nlisten = \"127.0.0.1:0\"\n\
             [[webhooks.endpoints]]\nname = \"fasten\"\nsecrets = [\"{SECRET}\"]\n{ENDPOINT}\n\
             [grpc]\nlisten = \"127.0.0.1:0\"\n[operations]\nlisten = \"127.0.0.1:0\"\n{CONFIG}",
            data.display(),
        );
        std::fs::write(&config, text).unwrap();
        let log = directory.join("stderr");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cleat"));
        command.args(["serve", "--trust-clock", "--config"]).arg(&config).stdin(Stdio::null());
        let process = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        Self { process, log }
    }

    /// Returns the complete log output.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the daemon answers or has ended.
    pub fn started(&mut self) -> Result<Started, Fault> {
        let deadline = Instant::now() + LIMIT;
        let mut addresses = None;
        while addresses.is_none() {
            let ended = self.process.try_wait().unwrap();
            addresses = Addresses::in_log(&self.log());
            if let Some(status) = ended {
                return Ok(Started::Refused(status.code()));
            }
            past(deadline, "it does not listen")?;
            std::thread::sleep(POLL);
        }
        let addresses = addresses.unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", addresses.grpc)).unwrap();
        let channel = runtime.block_on(async { endpoint.connect_lazy() });
        loop {
            let mut events = EventServiceClient::new(channel.clone());
            let head = async { tokio::time::timeout(LIMIT, events.get_head(GetHeadRequest {})).await };
            let head = runtime.block_on(head);
            if let Some(status) = self.process.try_wait().unwrap() {
                return Ok(Started::Refused(status.code()));
            }
            if let Ok(Ok(answer)) = head {
                let head = answer.into_inner().position;
                let Addresses { webhooks, grpc, .. } = addresses;
                return Ok(Started::Open(Open { webhooks, grpc, runtime, channel, head }));
            }
            past(deadline, "it neither answers nor ends")?;
            std::thread::sleep(POLL);
        }
    }

    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Stops the daemon in order, by SIGTERM.
    pub fn terminate(mut self) -> Result<(), Fault> {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return if status.success() { Ok(()) } else { Err(format!("it stops with {status}: {}", self.log())) };
            }
            past(deadline, "it does not stop")?;
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            self.process.kill().unwrap();
            self.process.wait().unwrap();
        }
    }
}

fn past(deadline: Instant, what: &str) -> Result<(), Fault> {
    if Instant::now() < deadline { Ok(()) } else { Err(format!("{what} within {LIMIT:?}")) }
}

impl Open {
    fn wait<T>(&self, what: &str, answer: impl Future<Output = T>) -> Result<T, Fault> {
        let limited = async { tokio::time::timeout(LIMIT, answer).await };
        self.runtime.block_on(limited).map_err(|_| format!("{what}: no answer within {LIMIT:?}"))
    }

    /// Reads an event. `None` if the daemon reports it as damaged.
    pub fn event(&self, position: u64) -> Result<Option<Event>, Fault> {
        let request = GetEventRequest { tenant: String::new(), event: Some(Which::Position(position)) };
        let mut events = EventServiceClient::new(self.channel.clone());
        match self.wait("GetEvent", events.get_event(request))? {
            Ok(answer) => Ok(answer.into_inner().event),
            Err(status) if is_damage(&status) => Ok(None),
            Err(status) => Err(format!("event {position}: {status}")),
        }
    }

    /// Reads the events from a position on, up to the head or the first event that cannot be read.
    fn events_from(&self, from: u64) -> Result<Vec<Event>, Fault> {
        let mut client = EventServiceClient::new(self.channel.clone());
        let request = ReadEventsRequest { from_position: from, ..Default::default() };
        let read = async {
            let mut events = Vec::new();
            let mut stream = client.read_events(request).await?.into_inner();
            loop {
                match stream.message().await {
                    Ok(Some(message)) => events.extend(message.events),
                    Ok(None) => return Ok(events),
                    Err(status) if is_damage(&status) => return Ok(events),
                    Err(status) => return Err(status),
                }
            }
        };
        self.wait("ReadEvents", read)?.map_err(|status: Status| format!("events from {from}: {status}"))
    }

    /// Reads all events from position 1 up to `through`. An event is `None` if the daemon reports it as damaged.
    pub fn events(&self, through: u64) -> Result<Vec<Option<Event>>, Fault> {
        let mut events: Vec<Option<Event>> = Vec::new();
        while (events.len() as u64) < through {
            let next = events.len() as u64 + 1;
            let was_damaged = events.last().is_some_and(Option::is_none);
            let read = if was_damaged { Vec::new() } else { self.events_from(next)? };
            if read.is_empty() {
                events.push(self.event(next)?);
                if !was_damaged && events.last().is_some_and(Option::is_some) {
                    return Err(format!("ReadEvents does not give event {next}, which can be read"));
                }
                if events.last().is_some_and(Option::is_some) {
                    events.extend(self.events_from(next + 1)?.into_iter().map(Some));
                }
            } else {
                events.extend(read.into_iter().map(Some));
            }
        }
        events.truncate(usize::try_from(through).unwrap());
        Ok(events)
    }

    /// Reads the changes of each position, from the log's first on, as a watch sends them. Asks again while changes are
    /// reported as damaged, until these have been rebuilt. Also returns whether any were damaged.
    pub fn changes(&self) -> Result<(Vec<Changed>, bool), Fault> {
        let deadline = Instant::now() + LIMIT;
        let mut was_damaged = false;
        loop {
            match self.wait("WatchConnections", self.watch_changes())? {
                Ok(changes) => return Ok((changes, was_damaged)),
                Err(status) if is_damage(&status) => was_damaged = true,
                Err(status) if status.code() == Code::Unavailable => {}
                Err(status) => return Err(format!("the changes: {status}")),
            }
            past(deadline, "the changes are not made again")?;
            std::thread::sleep(POLL);
        }
    }

    async fn watch_changes(&self) -> Result<Vec<Changed>, Status> {
        let mut client = ConnectionServiceClient::new(self.channel.clone());
        let start = Some(WatchStart { position: Some(From::AfterPosition(0)) });
        let request = WatchConnectionsRequest { start, include_previous: true, ..Default::default() };
        let mut stream = client.watch_connections(request).await?.into_inner();
        let mut all = Vec::new();
        loop {
            let message = stream.message().await?.ok_or_else(|| Status::unavailable("the watch has ended"))?;
            match message.message {
                Some(Message::ChangeBatch(batch)) => {
                    all.push(Changed { position: message.position, changes: batch.changes.clone() });
                }
                Some(Message::CaughtUp(_)) => return Ok(all),
                _ => {}
            }
        }
    }

    /// Lists all live connections, after everything that is durable now.
    pub fn connections(&self) -> Result<Vec<Connection>, Fault> {
        let mut client = ConnectionServiceClient::new(self.channel.clone());
        let consistency = ReadConsistency { requirement: Some(Requirement::FullyConsistent(true)), max_wait: None };
        let mut request =
            ListConnectionsRequest { page_size: 1000, consistency: Some(consistency), ..Default::default() };
        let mut all = Vec::new();
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.wait("ListConnections", client.list_connections(request.clone()))? {
                Ok(page) => {
                    let page = page.into_inner();
                    all.extend(page.connections);
                    if page.next_page_token.is_empty() {
                        return Ok(all);
                    }
                    request.page_token = page.next_page_token;
                }
                // The views are still being built.
                Err(status) if status.code() == Code::Unavailable => {
                    past(deadline, &format!("the views do not come ({status})"))?;
                    std::thread::sleep(POLL);
                }
                Err(status) => return Err(format!("the views: {status}")),
            }
        }
    }
}

fn is_damage(status: &Status) -> bool {
    let details = status.get_error_details();
    details.error_info().is_some_and(|info| info.reason == "DATA_DAMAGED")
}
