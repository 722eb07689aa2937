//! Events for a few connections, from a seed, and the rows that a watch of them must show. These are computed from
//! scratch, without cleat's fold.

use std::collections::BTreeMap;
use std::sync::Arc;

use cleat::proto::ConnectionStatus;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;
use testkit::bodies;

use super::asks::Asks;
use super::history::{Effect, Kind, Row, Rows};

const CONNECTIONS: u32 = 20;
const PATIENTS: u32 = 6;
const TASKS: u32 = 4;
/// Links of a large export. A few such events fill the stream of a slow reader.
const LINKS: usize = 150;

/// An event to send.
#[derive(Debug)]
pub struct Sample {
    pub id: String,
    pub body: Vec<u8>,
    pub means: Option<Means>,
}

/// Meaning of an event for one connection.
#[derive(Debug)]
pub struct Means {
    connection: String,
    status: Option<ConnectionStatus>,
    external_id: Option<String>,
    task: Option<String>,
}

/// State of a connection.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub external_id: String,
    pub status: ConnectionStatus,
    version: u64,
    /// Its exports, with their versions.
    exports: BTreeMap<String, u64>,
}

impl Sample {
    /// Returns a random event. `id` must be new.
    pub fn new(id: String, random: &mut StdRng) -> Self {
        let number = random.random_range(0..CONNECTIONS);
        let connection = format!("connection-{number}");
        let task = format!("task-{number}-{}", random.random_range(0..TASKS));
        let mut means = Means { connection, status: None, external_id: None, task: None };
        let (kind, more) = match random.random_range(0..20) {
            0 => ("webhook.test", json!({})),
            1..=4 => {
                means.status = Some(ConnectionStatus::Revoked);
                ("patient.authorization_revoked", json!({ "connection_status": "revoked" }))
            }
            5..=8 => {
                means.task = Some(task.clone());
                let links = if random.random_range(0..8) == 0 { LINKS } else { 1 };
                let link = |n| json!({ "url": format!("https://example.org/{n:0100}") });
                let links: Vec<_> = (0..links).map(link).collect();
                ("patient.ehi_export_success", json!({ "task_id": task, "download_links": links }))
            }
            9 => {
                means.task = Some(task.clone());
                ("patient.ehi_export_failed", json!({ "task_id": task, "failure_reason": "unknown" }))
            }
            number => {
                means.status = Some(ConnectionStatus::Authorized);
                let mut data = json!({ "connection_status": "authorized", "platform_type": "epic" });
                if number % 2 == 0 {
                    let patient = format!("patient-{}", random.random_range(0..PATIENTS));
                    data["external_id"] = json!(patient);
                    means.external_id = Some(patient);
                }
                ("patient.connection_success", data)
            }
        };
        let mut data = more;
        let means = (kind != "webhook.test").then_some(means);
        if let Some(means) = &means {
            data["org_connection_id"] = json!(means.connection);
        }
        let body = bodies::event(kind, &id, &data);
        Self { id, body: body.to_string().into_bytes(), means }
    }
}

/// Rows that a watch must show, by position. Positions without rows are left out.
pub type Truth = BTreeMap<u64, Rows>;

/// Returns all rows that a watch of this log must show for a request.
pub fn required_rows(log: &[Arc<Sample>], asks: &Asks) -> Truth {
    let mut states = BTreeMap::<&str, State>::new();
    let mut all = BTreeMap::new();
    for (position, sample) in (1..).zip(log) {
        let mut rows = Rows::new();
        if asks.wants(Kind::Event) {
            let id = sample.id.clone();
            rows.insert(Row { kind: Kind::Event, id, version: 0, state: String::new(), effect: Effect::Entered });
        }
        if let Some(means) = &sample.means {
            let before = states.get(means.connection.as_str());
            let now = after(before, means);
            rows.extend(changes(before, &now, means, asks));
            states.insert(&means.connection, now);
        }
        if !rows.is_empty() {
            all.insert(position, rows);
        }
    }
    all
}

fn after(before: Option<&State>, means: &Means) -> State {
    let mut now = before.cloned().unwrap_or_default();
    now.version += 1;
    now.status = means.status.unwrap_or(if before.is_some() { now.status } else { ConnectionStatus::Unknown });
    if let Some(external_id) = &means.external_id {
        now.external_id.clone_from(external_id);
    }
    if let Some(task) = &means.task {
        *now.exports.entry(task.clone()).or_default() += 1;
    }
    now
}

fn changes(before: Option<&State>, now: &State, means: &Means, asks: &Asks) -> Rows {
    let mut rows = Rows::new();
    let (was, is) = (before.is_some_and(|before| asks.matches(before)), asks.matches(now));
    if asks.wants(Kind::Connection)
        && let Some(effect) = effect(was, is)
    {
        let id = means.connection.clone();
        let state = format!("{:?} {}", now.status, now.external_id);
        rows.insert(Row { kind: Kind::Connection, id, version: now.version, state, effect });
    }
    if asks.wants(Kind::Export) {
        for (task, version) in &now.exports {
            let existed = before.is_some_and(|before| before.exports.contains_key(task));
            let is_named = means.task.as_ref() == Some(task);
            let borrows_another = before.is_some_and(|before| before.external_id != now.external_id);
            let Some(effect) = effect(existed && was, is) else { continue };
            if effect != Effect::Updated || is_named || borrows_another {
                let id = task.clone();
                let state = now.external_id.clone();
                rows.insert(Row { kind: Kind::Export, id, version: *version, state, effect });
            }
        }
    }
    rows
}

fn effect(before: bool, now: bool) -> Option<Effect> {
    match (before, now) {
        (false, false) => None,
        (false, true) => Some(Effect::Entered),
        (true, true) => Some(Effect::Updated),
        (true, false) => Some(Effect::Left),
    }
}
