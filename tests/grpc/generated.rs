//! Generated data, and generated filters over it: the same for a seed.

use cleat::proto::{Connection, ConnectionFilter, Export, ExportFilter};
use prost_types::{Duration, Timestamp};
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::support::*;

pub const PATIENTS: u32 = 8;
pub const PLATFORMS: [&str; 3] = ["epic", "cerner", "tefca"];

/// Returns an event of one of 60 connections, or of one of 80 exports.
pub fn random_event(random: &mut StdRng, id: &str) -> serde_json::Value {
    let connection = format!("c{}", random.random_range(0..60));
    let task = format!("t{}", random.random_range(0..80));
    match random.random_range(0..8) {
        0..4 => {
            let patient = format!("x{}", random.random_range(0..PATIENTS));
            let status = ["authorized", "authorized", "rejected", "connected"][random.random_range(0..4)];
            let mut body = connected(id, &connection, &patient, status);
            body["data"]["platform_type"] = PLATFORMS[random.random_range(0..3)].into();
            body["data"]["request_id"] = format!("r{}", random.random_range(0..4)).into();
            body["data"]["external_state"] = format!("s{}", random.random_range(0..4)).into();
            let day = random.random_range(1..29);
            body["data"]["consent_expires_at"] = format!("2026-08-{day:02}T00:00:00Z").into();
            body
        }
        4 => revoked(id, &connection),
        5 => failed(id, &task, &connection, ["token_refresh_failure", "other"][random.random_range(0..2)]),
        6 => exported(id, &task, ""),
        _ => exported(id, &task, &connection),
    }
}

/// Returns an API with 400 such events. The clock of its log goes on by seconds, so all events are at most 10,000
/// seconds before `NOW`.
pub async fn populated(random: &mut StdRng) -> TestApi {
    let api = TestApi::open().await;
    for number in 0..400 {
        api.append(&random_event(random, &format!("e{number}"))).await;
    }
    api.applied().await;
    api
}

pub async fn connections(api: &TestApi, filter: &ConnectionFilter) -> Vec<Connection> {
    every_connection(api, filter.clone(), 7).await
}

pub async fn exports(api: &TestApi, filter: &ExportFilter) -> Vec<Export> {
    every_export(api, filter.clone(), 7).await
}

pub fn before_now(seconds: i64) -> Timestamp {
    Timestamp { seconds: NOW.as_micros() / 1_000_000 - seconds, nanos: 0 }
}

/// Returns a random filter. Each field is set in one of four cases.
pub fn connection_filter(random: &mut StdRng) -> ConnectionFilter {
    let mut there = || random.random_bool(0.25);
    let [ids, statuses, platforms, reconnect, ambiguous, consent, changed, awaiting] = std::array::from_fn(|_| there());
    let [requests, states] = std::array::from_fn(|_| there());
    let several = |random: &mut StdRng| random.random_range(1..4);
    ConnectionFilter {
        external_ids: if ids { (0..several(random)).map(|n| format!("x{}", n * 3)).collect() } else { vec![] },
        statuses: if statuses { (0..several(random)).map(|_| random.random_range(1..6)).collect() } else { vec![] },
        platform_types: if platforms { vec![PLATFORMS[random.random_range(0..3)].into()] } else { vec![] },
        request_ids: if requests { (0..several(random)).map(|n| format!("r{n}")).collect() } else { vec![] },
        event_types: vec![],
        external_states: if states { (0..several(random)).map(|n| format!("s{n}")).collect() } else { vec![] },
        needs_reconnect: reconnect.then(|| random.random()),
        order_ambiguous: ambiguous.then(|| random.random()),
        consent_expires_before: consent.then(|| Timestamp {
            // August 2026.
            seconds: 1_785_542_400 + random.random_range(0..29) * 86_400,
            nanos: 0,
        }),
        changed_after: changed.then(|| before_now(random.random_range(9_000..10_000))),
        awaiting_export_for: awaiting.then(|| Duration { seconds: random.random_range(9_000..10_000), nanos: 0 }),
    }
}

pub fn export_filter(random: &mut StdRng) -> ExportFilter {
    let [ids, statuses, patients, changed, deadline] = std::array::from_fn(|_| random.random_bool(0.3));
    ExportFilter {
        org_connection_ids: if ids { (0..9).map(|n| format!("c{}", n * 7)).collect() } else { vec![] },
        statuses: if statuses { vec![random.random_range(1..3)] } else { vec![] },
        external_ids: if patients { (0..3).map(|n| format!("x{}", n * 3)).collect() } else { vec![] },
        changed_after: changed.then(|| before_now(random.random_range(9_000..10_000))),
        deadline_within: deadline.then(|| Duration { seconds: 86_400 - random.random_range(9_000..10_000), nanos: 0 }),
    }
}
