//! A client that builds the state from a watch alone, and detects a missing change.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cleat::proto::Connection;
use cleat::proto::change::{Effect, Entity};
use cleat::proto::watch_connections_response::Message;

use crate::support::Watch;

pub struct Followed {
    /// Position of the snapshot.
    pub started: u64,
    pub connections: BTreeMap<String, Connection>,
}

impl Followed {
    /// Reads until the watch has sent everything up to `last`.
    pub fn through(mut watch: Watch, last: u64) -> Self {
        let first = watch.next().unwrap();
        assert!(matches!(first.message, Some(Message::Started(_))));
        let mut followed = Self { started: first.position, connections: BTreeMap::new() };
        let mut position = first.position;
        let mut complete = false;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !complete || position < last {
            assert!(Instant::now() < deadline, "it is at {position}, and never at {last}");
            let response = watch.next().unwrap();
            match response.message.unwrap() {
                Message::SnapshotBatch(batch) => {
                    let connections = batch.connections.into_iter();
                    followed.connections.extend(connections.map(|row| (row.org_connection_id.clone(), row)));
                }
                Message::SnapshotEnd(end) => {
                    assert_eq!(end.connections, followed.connections.len() as u64);
                    complete = true;
                }
                Message::ChangeBatch(batch) => {
                    assert!(complete && response.position > position);
                    for change in batch.into_inner().changes {
                        let effect = change.effect();
                        if let Some(Entity::Connection(connection)) = change.entity {
                            followed.take(connection, effect);
                        }
                    }
                }
                Message::CaughtUp(_) | Message::Heartbeat(_) => {}
                other => panic!("{other:?}"),
            }
            position = response.position;
        }
        followed
    }

    fn take(&mut self, connection: Connection, effect: Effect) {
        let (id, version) = (connection.org_connection_id.clone(), connection.version);
        let before = self.connections.insert(id, connection);
        let effect_expected = if before.is_none() { Effect::Entered } else { Effect::Updated };
        assert_eq!(effect, effect_expected);
        assert_eq!(version, before.map_or(0, |before| before.version) + 1, "a change is left out, or comes twice");
    }
}
