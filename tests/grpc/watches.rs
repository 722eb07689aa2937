//! Watches: no gap, no repeat, no reordering, whenever they start; and their filters.

use cleat::proto::change::{Effect, Entity, Previous};
use cleat::proto::watch_connections_response::Message;
use cleat::proto::{
    Connection, ConnectionFilter, ConnectionStatus, ListConnectionsRequest, ListExportsRequest,
    WatchConnectionsRequest, WatchKind,
};
use serde_json::Value;
use tokio::sync::watch;
use tonic::Code;

use crate::follower::{Follower, snapshot};
use crate::support::*;

fn patients(ids: &[&str]) -> ConnectionFilter {
    let external_ids = ids.iter().map(|id| (*id).to_owned()).collect();
    ConnectionFilter { external_ids, statuses: vec![ConnectionStatus::Authorized.into()], ..Default::default() }
}

/// Returns an export with links of some 300 KB.
fn large_export(number: usize) -> Value {
    let links: Vec<_> = (0..20).map(|link| format!("https://x.test/{number}/{link}/{}", "x".repeat(15_000))).collect();
    let mut body = exported(&format!("e{number}"), &format!("t{number}"), "c");
    body["data"]["download_links"] = links.into();
    body
}

/// The exports of a revoked connection leave a filter together: here with 3.6 MB of links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_over_3_mib_ends_its_watch_and_no_other() {
    let api = TestApi::open().await;
    api.append(&connected("e0", "c", "patient", "authorized")).await;
    for number in 1..=12 {
        api.append(&large_export(number)).await;
    }
    api.applied().await;
    let request = |kinds: &[WatchKind]| WatchConnectionsRequest {
        filter: Some(patients(&[])),
        kinds: kinds.iter().map(|kind| (*kind).into()).collect(),
        ..Default::default()
    };
    let mut all = api.connections().watch_connections(request(&[])).await.unwrap().into_inner();
    let mut other = api.connections().watch_connections(request(&[WatchKind::Connection])).await.unwrap().into_inner();
    for stream in [&mut all, &mut other] {
        while !matches!(stream.message().await.unwrap().unwrap().message, Some(Message::CaughtUp(_))) {}
    }
    let change = api.append(&revoked("e13", "c")).await;
    let later = api.append(&connected("e14", "d", "patient", "authorized")).await;
    let ended = loop {
        match all.message().await {
            Ok(message) => assert!(message.unwrap().position < change.position),
            Err(status) => break refused(Err::<(), _>(status)),
        }
    };
    assert_eq!(ended, (Code::ResourceExhausted, "CHANGE_TOO_LARGE".into(), false));
    let positions = [other.message().await, other.message().await].map(|message| message.unwrap().unwrap().position);
    assert_eq!(positions, [change.position, later.position]);
    let snapshot = Follower::start(&api, WatchConnectionsRequest { filter: Some(patients(&[])), ..snapshot() });
    snapshot.await.until(later.position).await;
}

const STEPS: usize = 1000;

/// Appends one step of a short history of 251 connections: exports before connections, revocations, reconnects.
async fn step(api: &TestApi, number: usize) {
    // 251 is a prime, so each connection gets every kind of event.
    let connection = format!("c{:03}", number * 7 % 251);
    let patient = format!("x{}", number * 7 % 251 % 4);
    let id = format!("e{number}");
    match number % 5 {
        0 | 3 => api.append(&exported(&id, &format!("t{:03}", number % 300), &connection)).await,
        1 | 4 => api.append(&connected(&id, &connection, &patient, "authorized")).await,
        _ => api.append(&revoked(&id, &connection)).await,
    };
}

/// Opens watches with several filters once the log has reached `head`, while it grows.
async fn open_followers(api: &TestApi, head: u64) -> Vec<(ConnectionFilter, Follower)> {
    while api.reader.head().position < head {
        tokio::task::yield_now().await;
    }
    let mut followers = Vec::new();
    for filter in [ConnectionFilter::default(), patients(&["x1", "x2"]), patients(&[])] {
        let request = WatchConnectionsRequest { filter: Some(filter.clone()), ..snapshot() };
        followers.push((filter, Follower::start(api, request).await));
    }
    followers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_started_at_any_time_agree_with_the_lists() {
    // The ring is small, so that some watches read changes that it no longer holds.
    let api = TestApi::with(Setup { watches_max: 40, watches_share: 40, ring_len: 20, ..Setup::default() }).await;
    let mut followers = open_followers(&api, 0).await;
    let growing = async {
        for number in 0..STEPS {
            step(&api, number).await;
        }
    };
    let opening = async {
        for head in (50..STEPS as u64).step_by(100) {
            followers.extend(open_followers(&api, head).await);
        }
    };
    tokio::join!(growing, opening);
    followers.extend(open_followers(&api, 0).await);
    // Every filter matches this event, so every watch gets to its position.
    let last = api.append(&connected("last", "c999", "x1", "authorized")).await;

    for (filter, mut follower) in followers {
        follower.until(last.position).await;
        assert_agrees(&api, &filter, &follower).await;
    }
}

/// Checks that the watch has the rows of the lists. An export is shown when its connection is.
async fn assert_agrees(api: &TestApi, filter: &ConnectionFilter, follower: &Follower) {
    let consistency = Some(fully());
    let filtered = Some(filter.clone());
    let request = ListConnectionsRequest { filter: filtered, page_size: 1000, consistency, ..Default::default() };
    let listed = api.connections().list_connections(request).await.unwrap().into_inner();
    assert_eq!(listed.position, follower.position);
    assert!(follower.connections.values().eq(&listed.connections));

    let request = ListExportsRequest { page_size: 1000, ..Default::default() };
    let exports = api.exports().list_exports(request).await.unwrap().into_inner().exports;
    let all = *filter == ConnectionFilter::default();
    let shown = exports.iter().filter(|row| all || follower.connections.contains_key(&row.org_connection_id));
    assert!(follower.exports.values().eq(shown));
}

#[tokio::test]
async fn a_snapshot_larger_than_a_batch_comes_in_several() {
    let api = TestApi::open().await;
    for number in 0..450 {
        api.append(&connected(&format!("e{number}"), &format!("c{number}"), "x", "authorized")).await;
    }
    api.applied().await;
    let mut follower =
        Follower::start(&api, WatchConnectionsRequest { kinds: vec![WatchKind::Connection.into()], ..snapshot() })
            .await;
    let mut sizes = Vec::new();
    while let Message::SnapshotBatch(batch) = follower.next().await {
        sizes.push(batch.connections.len());
    }
    assert_eq!(sizes, [200, 200, 50]);
}

#[tokio::test]
async fn change_shows_its_effect_in_the_filter_and_the_state_before() {
    let api = TestApi::open().await;
    let request =
        WatchConnectionsRequest { filter: Some(patients(&["x"])), include_previous: true, ..Default::default() };
    let mut follower = Follower::start(&api, request).await;
    assert!(matches!(follower.next().await, Message::CaughtUp(_)));
    api.append(&exported("e1", "t", "c")).await;
    api.append(&connected("e2", "c", "x", "authorized")).await;
    api.append(&connected("e3", "c", "x", "authorized")).await;
    api.append(&revoked("e4", "c")).await;
    api.append(&revoked("e5", "c")).await;
    api.append(&connected("e6", "c", "x", "authorized")).await;

    let mut seen = Vec::new();
    while seen.len() < 4 {
        let Message::ChangeBatch(batch) = follower.next().await else { panic!("nothing but changes") };
        let summary = |change: &cleat::proto::Change| {
            let before = match &change.previous {
                Some(Previous::PreviousConnection(before)) => Some(before.version),
                Some(Previous::PreviousExport(_)) | None => None,
            };
            (matches!(change.entity, Some(Entity::Export(_))), change.effect(), before)
        };
        seen.push((follower.position, batch.changes.iter().map(summary).collect::<Vec<_>>()));
    }
    let expected = [
        (2, vec![(false, Effect::Entered, Some(1)), (true, Effect::Entered, None)]),
        (3, vec![(false, Effect::Updated, Some(2))]),
        (4, vec![(false, Effect::Left, Some(3)), (true, Effect::Left, None)]),
        (6, vec![(false, Effect::Entered, Some(5)), (true, Effect::Entered, None)]),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_watch_of_one_kind_sees_no_other() {
    let api = TestApi::open().await;
    let kinds = |kind: WatchKind| WatchConnectionsRequest { kinds: vec![kind.into()], ..snapshot() };
    let mut live = Follower::start(&api, kinds(WatchKind::Export)).await;
    api.append(&connected("e1", "c", "x", "authorized")).await;
    api.append(&exported("e2", "t", "c")).await;
    live.until(2).await;
    assert_eq!((live.connections.len(), live.exports.len()), (0, 1));
    let mut later = Follower::start(&api, kinds(WatchKind::Connection)).await;
    later.until(2).await;
    assert_eq!((later.connections.len(), later.exports.len()), (1, 0));
}

/// A connection that leaves a filter takes its exports with it, if it has any.
#[tokio::test]
async fn a_watch_of_exports_sees_nothing_of_a_connection_without_any() {
    let api = TestApi::open().await;
    let kinds = vec![WatchKind::Export.into()];
    let request = WatchConnectionsRequest { filter: Some(patients(&[])), kinds, ..Default::default() };
    let mut follower = Follower::start(&api, request).await;
    assert!(matches!(follower.next().await, Message::CaughtUp(_)));
    api.append(&connected("e1", "without", "x", "authorized")).await;
    api.append(&revoked("e2", "without")).await;
    api.append(&connected("e3", "with", "x", "authorized")).await;
    api.append(&exported("e4", "t", "with")).await;
    api.append(&revoked("e5", "with")).await;
    for (position, shown) in [(4, 1), (5, 0)] {
        assert!(matches!(follower.next().await, Message::ChangeBatch(_)));
        assert_eq!((follower.position, follower.exports.len()), (position, shown));
    }
}

#[tokio::test]
async fn heartbeat_means_all_before_it_was_sent_even_without_a_match() {
    let api = TestApi::open().await;
    let heartbeat_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let request = WatchConnectionsRequest { filter: Some(patients(&["x"])), heartbeat_interval, ..Default::default() };
    let mut follower = Follower::start(&api, request).await;
    let last = api.append(&connected("e1", "c", "other", "authorized")).await;
    while follower.position < last.position {
        assert!(matches!(follower.next().await, Message::CaughtUp(_) | Message::Heartbeat(_)));
    }
    assert!(follower.connections.is_empty());
}

/// The client takes so little that the server has to wait for it, while the ring holds next to nothing.
#[tokio::test]
async fn a_watch_that_falls_behind_is_informed_and_skips_nothing() {
    let api = TestApi::with(Setup { ring_len: 1, ..Setup::default() }).await;
    let mut follower = Follower::over(api.narrow_channel().await, WatchConnectionsRequest::default()).await;
    follower.until(0).await;
    for number in 0..2000 {
        api.append(&connected(&format!("e{number}"), "c", "x", "authorized")).await;
    }
    for position in 1..=2000 {
        while follower.position < position {
            follower.next().await;
        }
        assert_eq!((follower.position, follower.connections["c"].version), (position, position));
    }
    follower.until(2000).await;
    assert!(follower.fell_behind > 0);
}

#[tokio::test]
async fn changes_published_together_are_sent_position_by_position() {
    let (publish, views) = watch::channel(views_of([], 1000));
    let api = TestApi::over(views).await;
    let mut follower = Follower::start(&api, WatchConnectionsRequest::default()).await;
    follower.until(0).await;
    let bodies = (0..1000).map(|number| connected("", &format!("c{}", number % 10), "x", "authorized"));
    publish.send_replace(views_of(bodies, 1000));
    for position in 1..=1000 {
        let Message::ChangeBatch(batch) = follower.next().await else { panic!("nothing but changes") };
        let [change] = &batch.changes[..] else { panic!("one change a position") };
        let Some(Entity::Connection(connection)) = &change.entity else { panic!("of a connection") };
        assert_eq!((follower.position, connection.last_position), (position, position));
    }
}

/// The client takes so little that the server is still inside the snapshot when the state changes.
#[tokio::test]
async fn a_change_during_a_snapshot_comes_after_it() {
    let bodies = || (0..10_000).map(|number| connected("", &format!("c{number:05}"), "x", "authorized"));
    let (publish, views) = watch::channel(views_of(bodies(), 10));
    let api = TestApi::over(views).await;
    let mut follower = Follower::over(api.narrow_channel().await, snapshot()).await;
    let later = [revoked("", "c00000"), revoked("", "c09999")];
    publish.send_replace(views_of(bodies().chain(later), 10));
    while follower.in_snapshot {
        follower.next().await;
        let is_revoked = |connection: &Connection| connection.status() == ConnectionStatus::Revoked;
        assert!(follower.position == 10_000 && !follower.connections.values().any(is_revoked));
    }
    follower.until(10_002).await;
    assert_eq!(follower.connections["c00000"].status(), ConnectionStatus::Revoked);
    assert_eq!(follower.connections["c09999"].status(), ConnectionStatus::Revoked);
}
