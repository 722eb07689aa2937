//! A blocking client of the gRPC API. Its runtime runs only inside a call: between two calls it reads nothing.

use std::net::SocketAddr;
use std::time::Duration;

use cleat::proto::connection_service_client::ConnectionServiceClient;
use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::get_event_request::Event as Which;
use cleat::proto::read_consistency::Requirement;
use cleat::proto::watch_start::Position;
use cleat::proto::{
    Connection, Event, GetConnectionRequest, GetEventRequest, GetHeadRequest, ListConnectionsRequest, ReadConsistency,
    ReadEventsRequest, WatchConnectionsRequest, WatchConnectionsResponse, WatchStart,
};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Api {
    runtime: Runtime,
    channel: Channel,
}

impl Api {
    pub fn connect(address: SocketAddr) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        // Small windows, so that the server soon has to stop writing to a client that does not read.
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
        let channel = runtime.block_on(within(endpoint.connect())).unwrap();
        Self { runtime, channel }
    }

    /// Returns the channel, for requests that have no method here; see [`Self::wait`].
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(within(answer))
    }

    /// Returns the last durable position.
    pub fn head(&self) -> u64 {
        let mut events = EventServiceClient::new(self.channel.clone());
        self.wait(events.get_head(GetHeadRequest {})).unwrap().into_inner().position
    }

    pub fn event(&self, position: u64) -> Event {
        self.try_event(position).unwrap()
    }

    pub fn try_event(&self, position: u64) -> Result<Event, Status> {
        let mut events = EventServiceClient::new(self.channel.clone());
        let request = GetEventRequest { tenant: String::new(), event: Some(Which::Position(position)) };
        self.wait(events.get_event(request)).map(|answer| answer.into_inner().event.unwrap())
    }

    /// Returns the keys of all events, which are gapless up to the head.
    pub fn keys(&self) -> Vec<String> {
        let mut client = EventServiceClient::new(self.channel.clone());
        self.wait(async {
            let mut parts = client.read_events(ReadEventsRequest::default()).await.unwrap().into_inner();
            let mut keys = Vec::new();
            while let Some(part) = parts.message().await.unwrap() {
                for event in part.events {
                    assert_eq!(event.position, keys.len() as u64 + 1);
                    keys.push(event.event_key);
                }
            }
            keys
        })
    }

    pub fn connection(&self, id: &str) -> Result<Connection, Status> {
        let mut connections = ConnectionServiceClient::new(self.channel.clone());
        let request = GetConnectionRequest { org_connection_id: id.to_owned(), ..Default::default() };
        let answer = self.wait(connections.get_connection(request));
        answer.map(|answer| answer.into_inner().connection.unwrap())
    }

    /// Returns once the state has everything that is durable now. By default a read takes the state as it is.
    pub fn catch_up(&self) {
        self.connections();
    }

    /// Lists all live connections, after everything that is durable now.
    pub fn connections(&self) -> Vec<Connection> {
        let mut client = ConnectionServiceClient::new(self.channel.clone());
        let consistency = ReadConsistency { requirement: Some(Requirement::FullyConsistent(true)), max_wait: None };
        let mut request = ListConnectionsRequest { page_size: 7, consistency: Some(consistency), ..Default::default() };
        let mut all = Vec::new();
        loop {
            let page = self.wait(client.list_connections(request.clone())).unwrap().into_inner();
            all.extend(page.connections);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Watches all live connections and exports, with a heartbeat every second.
    pub fn watch(self) -> Watch {
        let mut client = ConnectionServiceClient::new(self.channel.clone());
        let request = WatchConnectionsRequest {
            start: Some(WatchStart { position: Some(Position::Snapshot(true)) }),
            heartbeat_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..Default::default()
        };
        let stream = self.wait(client.watch_connections(request)).unwrap().into_inner();
        Watch { api: self, stream }
    }
}

/// A watch that begins with a snapshot.
pub struct Watch {
    api: Api,
    stream: Streaming<WatchConnectionsResponse>,
}

impl Watch {
    /// Returns the next message, or the status with which the watch ends.
    pub fn next(&mut self) -> Result<WatchConnectionsResponse, Status> {
        let message = self.api.wait(self.stream.message())?;
        Ok(message.expect("a watch ends with a status"))
    }
}

async fn within<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer comes")
}
