//! Opens either kind of watch, and converts its messages into those of a history.

use std::pin::Pin;

use cleat::proto::change::{self, Entity, Previous};
use cleat::proto::connection_service_client::ConnectionServiceClient;
use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::watch_connections_response::Message as Connections;
use cleat::proto::watch_events_response::Message as Events;
use cleat::proto::watch_start::Position;
use cleat::proto::{
    Change, Connection, Event, Export, WatchConnectionsRequest, WatchConnectionsResponse, WatchEventsRequest,
    WatchEventsResponse, WatchStart,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tonic::transport::Channel;

use super::asks::Asks;
use super::history::{Effect, Kind, Received, Row, Rows, Start, What};

const HEARTBEAT: prost_types::Duration = prost_types::Duration { seconds: 1, nanos: 0 };

/// A message, and its token.
pub type Message = (Vec<Received>, String);
pub type Messages = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

pub async fn open(channel: Channel, asks: &Asks, start: &Start) -> Result<Messages, Status> {
    let start = match start.clone() {
        Start::Snapshot => Position::Snapshot(true),
        Start::Live => Position::Live(true),
        Start::After(position) => Position::AfterPosition(position),
        Start::Token(bookmark) => Position::ResumeToken(bookmark.token),
        Start::Spoilt(token) => Position::ResumeToken(token),
    };
    let start = Some(WatchStart { position: Some(start) });
    if asks.events {
        let request = WatchEventsRequest { start, heartbeat_interval: Some(HEARTBEAT), ..Default::default() };
        let stream = EventServiceClient::new(channel).watch_events(request).await?.into_inner();
        return Ok(Box::pin(stream.map(|message| message.map(of_events))));
    }
    let request = WatchConnectionsRequest {
        start,
        filter: Some(asks.filter()),
        kinds: asks.kinds.iter().map(|kind| (*kind).into()).collect(),
        heartbeat_interval: Some(HEARTBEAT),
        include_previous: asks.with_all,
        include_event: asks.with_all,
        ..Default::default()
    };
    let stream = ConnectionServiceClient::new(channel).watch_connections(request).await?.into_inner();
    Ok(Box::pin(stream.map(|message| message.map(of_connections))))
}

fn of_connections(message: WatchConnectionsResponse) -> Message {
    let what = match message.message.unwrap() {
        Connections::Started(started) => What::Started { snapshot: started.snapshot },
        Connections::SnapshotBatch(batch) => {
            let connections = batch.connections.iter().map(|row| connection(row, Effect::Entered));
            let exports = batch.exports.iter().map(|row| export(row, Effect::Entered));
            What::Snapshot(connections.chain(exports).collect())
        }
        Connections::SnapshotEnd(_) => What::SnapshotEnd,
        Connections::ChangeBatch(batch) => {
            assert!(batch.event.as_ref().is_none_or(|event| event.position == message.position), "its event");
            let rows: Rows = batch.changes.iter().map(change).collect();
            assert_eq!(rows.len(), batch.changes.len(), "an entity twice in one batch");
            What::Changes(rows)
        }
        Connections::CaughtUp(_) => What::CaughtUp,
        Connections::Heartbeat(_) => What::Heartbeat,
        Connections::GoingAway(_) => What::GoingAway,
        Connections::FellBehind(_) => What::FellBehind,
    };
    (vec![Received { position: message.position, what }], message.resume_token)
}

/// Splits a batch, so that each event is a message of its own.
fn of_events(message: WatchEventsResponse) -> Message {
    let what = match message.message.unwrap() {
        Events::Started(started) => What::Started { snapshot: started.snapshot },
        Events::EventBatch(batch) => {
            let received: Vec<_> = batch.events.iter().map(event).collect();
            let last = received.last().map(|last| last.position);
            assert_eq!(last, Some(message.position), "it is at its last event");
            return (received, message.resume_token);
        }
        Events::CaughtUp(_) => What::CaughtUp,
        Events::Heartbeat(_) => What::Heartbeat,
        Events::GoingAway(_) => What::GoingAway,
    };
    (vec![Received { position: message.position, what }], message.resume_token)
}

fn event(event: &Event) -> Received {
    let id = event.event_key.strip_prefix("id:").unwrap().to_owned();
    let row = Row { kind: Kind::Event, id, version: 0, state: String::new(), effect: Effect::Entered };
    Received { position: event.position, what: What::Changes([row].into()) }
}

fn change(change: &Change) -> Row {
    let effect = match change.effect() {
        change::Effect::Entered => Effect::Entered,
        change::Effect::Updated => Effect::Updated,
        change::Effect::Left => Effect::Left,
        change::Effect::Unspecified => panic!("a change without an effect"),
    };
    match change.entity.as_ref().unwrap() {
        Entity::Connection(current) => {
            if let Some(Previous::PreviousConnection(previous)) = &change.previous {
                assert_eq!(previous.version + 1, current.version, "the state before it");
            }
            connection(current, effect)
        }
        Entity::Export(current) => export(current, effect),
    }
}

fn connection(connection: &Connection, effect: Effect) -> Row {
    let id = connection.org_connection_id.clone();
    let state = format!("{:?} {}", connection.status(), connection.external_id);
    Row { kind: Kind::Connection, id, version: connection.version, state, effect }
}

fn export(export: &Export, effect: Effect) -> Row {
    let id = export.task_id.clone();
    let state = export.external_id.clone();
    Row { kind: Kind::Export, id, version: export.version, state, effect }
}
