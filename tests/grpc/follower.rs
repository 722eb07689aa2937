//! A careful client of a watch: it builds the state from the messages, and checks every promise about their order.

use std::collections::BTreeMap;

use cleat::proto::change::{Effect, Entity};
use cleat::proto::connection_service_client::ConnectionServiceClient;
use cleat::proto::watch_connections_response::Message;
use cleat::proto::watch_start::Position as Start;
use cleat::proto::{Connection, Export, WatchConnectionsRequest, WatchConnectionsResponse, WatchStart};
use cleat::token::Token;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::support::TestApi;

pub fn snapshot() -> WatchConnectionsRequest {
    let start = Some(WatchStart { position: Some(Start::Snapshot(true)) });
    WatchConnectionsRequest { start, ..Default::default() }
}

pub struct Follower {
    stream: Streaming<WatchConnectionsResponse>,
    pub connections: BTreeMap<String, Connection>,
    pub exports: BTreeMap<String, Export>,
    pub position: u64,
    pub in_snapshot: bool,
    caught_up: bool,
    /// How often it fell behind.
    pub fell_behind: usize,
}

impl Follower {
    pub async fn start(api: &TestApi, request: WatchConnectionsRequest) -> Self {
        Self::over(api.channel.clone(), request).await
    }

    pub async fn over(channel: Channel, request: WatchConnectionsRequest) -> Self {
        let in_snapshot = matches!(&request.start, Some(start) if start.position == Some(Start::Snapshot(true)));
        let mut client = ConnectionServiceClient::new(channel);
        let mut stream = client.watch_connections(request).await.unwrap().into_inner();
        let started = stream.message().await.unwrap().unwrap();
        let Some(Message::Started(beginning)) = started.message else { panic!("a watch begins with Started") };
        assert_eq!(beginning.snapshot, in_snapshot);
        let (connections, exports) = (BTreeMap::new(), BTreeMap::new());
        Self { stream, connections, exports, position: started.position, in_snapshot, caught_up: false, fell_behind: 0 }
    }

    /// Returns the next message, after checking and applying it.
    pub async fn next(&mut self) -> Message {
        let response = self.stream.message().await.unwrap().unwrap();
        let token = Token::decode(&response.resume_token).unwrap();
        let message = response.message.unwrap();
        match &message {
            Message::Started(_) => panic!("it started before"),
            Message::SnapshotBatch(batch) => {
                assert!(self.in_snapshot && response.position == self.position && token.cursor.position == 0);
                for connection in &batch.connections {
                    self.put(Entity::Connection(connection.clone()), Effect::Entered);
                }
                for export in &batch.exports {
                    self.put(Entity::Export(export.clone()), Effect::Entered);
                }
            }
            Message::SnapshotEnd(end) => {
                let counts = (self.connections.len() as u64, self.exports.len() as u64);
                assert_eq!((end.connections, end.exports), counts);
                assert!(std::mem::take(&mut self.in_snapshot) && token.cursor.position == response.position);
            }
            Message::ChangeBatch(batch) => {
                assert!(!self.in_snapshot && response.position > self.position && !batch.changes.is_empty());
                assert_eq!(token.cursor.position, response.position);
                for change in &batch.changes {
                    self.put(change.entity.clone().unwrap(), change.effect());
                }
            }
            Message::FellBehind(_) => {
                assert!(!self.in_snapshot && std::mem::take(&mut self.caught_up) && response.position >= self.position);
                self.fell_behind += 1;
            }
            Message::CaughtUp(_) => assert!(!std::mem::replace(&mut self.caught_up, true), "once"),
            Message::Heartbeat(_) | Message::GoingAway(_) => assert!(response.position >= self.position),
        }
        self.position = response.position;
        message
    }

    fn put(&mut self, entity: Entity, effect: Effect) {
        let known = match entity {
            Entity::Connection(connection) => {
                let id = connection.org_connection_id.clone();
                let version = connection.version;
                let left = effect == Effect::Left;
                let before = if left { self.connections.remove(&id) } else { self.connections.insert(id, connection) };
                assert!(before.as_ref().is_none_or(|before| before.version < version), "no state comes twice");
                before.is_some()
            }
            Entity::Export(export) => {
                let id = export.task_id.clone();
                let left = effect == Effect::Left;
                let before = if left { self.exports.remove(&id) } else { self.exports.insert(id, export) };
                before.is_some()
            }
        };
        assert_eq!(known, effect != Effect::Entered, "what enters is new, and nothing else is");
    }

    /// Reads until everything up to a position has been sent and the watch has caught up.
    pub async fn until(&mut self, position: u64) {
        while self.in_snapshot || !self.caught_up || self.position < position {
            self.next().await;
        }
    }
}
