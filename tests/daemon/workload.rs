//! Events of every kind for a few connections, from a seed, and the states that the connections must have after them.

use std::collections::BTreeMap;

use cleat::proto::{Connection, ConnectionStatus};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use testkit::bodies::{self, revocation};

const CONNECTIONS: u32 = 60;

/// An event to send.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The `webhook-id`, and the body's id where it has one.
    pub id: String,
    pub body: Vec<u8>,
    /// Event key in the log.
    pub key: String,
    /// The connection that the body names, and the status that it gives it. `None` if it names no connection.
    names: Option<(String, Option<ConnectionStatus>)>,
}

impl Sample {
    /// Returns a random event. `id` must be new.
    pub fn new(id: &str, random: &mut StdRng) -> Self {
        let connection = format!("connection-{}", random.random_range(0..CONNECTIONS));
        let (kind, status, data) = match random.random_range(0..20) {
            0 => return Self::unreadable(id, random),
            1 => ("webhook.test", None, json!({ "hello": "world" })),
            2..=4 => ("patient.authorization_revoked", Some(ConnectionStatus::Revoked), revocation(&connection)),
            5..=8 => ("patient.ehi_export_success", None, exported(&connection, id, random)),
            9..=10 => ("patient.ehi_export_failed", None, failed(&connection, id)),
            _ => ("patient.connection_success", Some(ConnectionStatus::Authorized), connected(&connection, id)),
        };
        let body = bodies::event(kind, id, &data);
        let names = (kind != "webhook.test").then_some((connection, status));
        Self { id: id.to_owned(), body: body.to_string().into_bytes(), key: format!("id:{id}"), names }
    }

    /// Returns an event with an unreadable body. It is signed correctly all the same, so the log keeps it.
    fn unreadable(id: &str, random: &mut StdRng) -> Self {
        let body = (0..random.random_range(0..2000)).map(|_| random.random_range(b' '..b'~')).collect();
        Self { id: id.to_owned(), body, key: format!("whid:{id}"), names: None }
    }
}

fn connected(connection: &str, id: &str) -> Value {
    json!({ "org_connection_id": connection, "connection_status": "authorized", "platform_type": "epic",
        "external_id": format!("patient of {connection}"), "request_id": id, "scope": "patient/*.read" })
}

/// Returns the data of an export. Some have enough links for the event to take several blocks.
fn exported(connection: &str, id: &str, random: &mut StdRng) -> Value {
    let links = [1, 1, 1, 200][random.random_range(0..4)];
    let link = |_| json!({ "url": format!("https://example.org/{:032x}", random.random::<u128>()) });
    json!({ "org_connection_id": connection, "task_id": format!("task-{id}"), "stats": { "total_resources": 12 },
        "download_links": (0..links).map(link).collect::<Vec<_>>() })
}

fn failed(connection: &str, id: &str) -> Value {
    json!({ "org_connection_id": connection, "task_id": format!("task-{id}"), "failure_reason": "unknown" })
}

/// State of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    version: u64,
    first_position: u64,
    last_position: u64,
    status: ConnectionStatus,
}

/// States of all connections, by id.
pub type States = BTreeMap<String, State>;

/// Returns the states after these events, which are in order of their positions.
pub fn states<'a, T: IntoIterator<Item = (u64, &'a Sample)>>(events: T) -> States {
    let mut states = States::new();
    for (position, sample) in events {
        let Some((connection, status)) = &sample.names else { continue };
        let new = State { version: 0, first_position: position, last_position: 0, status: ConnectionStatus::Unknown };
        let state = states.entry(connection.clone()).or_insert(new);
        state.version += 1;
        state.last_position = position;
        state.status = status.unwrap_or(state.status);
    }
    states
}

/// Returns the states that the API shows.
pub fn shown_states(connections: &[Connection]) -> States {
    let state = |connection: &Connection| State {
        version: connection.version,
        first_position: connection.first_position,
        last_position: connection.last_position,
        status: connection.status(),
    };
    connections.iter().map(|connection| (connection.org_connection_id.clone(), state(connection))).collect()
}
