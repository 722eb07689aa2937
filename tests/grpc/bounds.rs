//! Limits of one caller: answers that it does not read, requests that it does not finish, streams, watches and
//! connections. Another caller is served meanwhile.

use std::time::Duration;

use cleat::proto::watch_connections_response::Message as Change;
use cleat::proto::watch_start::Position as Start;
use cleat::proto::{
    GetEventRequest, GetHeadRequest, GetStatusRequest, ImportEventsRequest, ListConnectionsRequest,
    WatchConnectionsRequest, WatchEventsRequest, WatchStart,
};
use h2::Reason;
use tokio::sync::watch;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;

use crate::raw::{Raw, end, reason, socket};
use crate::support::*;

const LIST: &str = "/cleat.v1.ConnectionService/ListConnections";
const WATCH_EVENTS: &str = "/cleat.v1.EventService/WatchEvents";
const WATCH: &str = "/cleat.v1.ConnectionService/WatchConnections";
const GET_EVENT: &str = "/cleat.v1.EventService/GetEvent";
const GET_STATUS: &str = "/cleat.v1.AdminService/GetStatus";
const IMPORT: &str = "/cleat.v1.AdminService/ImportEvents";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
const WINDOW: u32 = 65_535;

/// Returns views whose connections fill a page.
fn full_page() -> std::sync::Arc<cleat::fold::Views> {
    let bodies = (0..200).map(|number| {
        let text = "x".repeat(2000);
        let mut body = connected(&format!("e{number}"), &format!("c{number}"), &text, "authorized");
        for field in ["external_state", "request_id", "scope"] {
            body["data"][field] = text.clone().into();
        }
        body
    });
    views_of(bodies, 1)
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_charged_and_then_reset() {
    let (publish, views) = watch::channel(full_page());
    let api = TestApi::over(views).await;
    let quiet = WatchConnectionsRequest {
        heartbeat_interval: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
        ..Default::default()
    };
    let mut quiet = api.connections().watch_connections(quiet).await.unwrap().into_inner();
    for _ in 0..2 {
        quiet.message().await.unwrap().unwrap();
    }
    let page = ListConnectionsRequest { page_size: 1000, ..Default::default() };
    for window in [0, 1] {
        let attacker = Raw::connect(api.address, window).await;
        let mut calls = Vec::new();
        for _ in 0..120 {
            calls.push(attacker.call(LIST, &page).await);
        }
        let (mut unread, mut refused) = (Vec::new(), Vec::new());
        for call in calls {
            match call.answer().await {
                Ok(answer) => unread.push(answer),
                Err(status) => refused.push(reason(&status)),
            }
        }
        let others = api.connections().list_connections(page.clone()).await.unwrap().into_inner();
        assert!(others.connections.len() > 100);
        let mut held = 0;
        for answer in unread {
            match end(answer).await {
                Ok(status) => refused.push(reason(&status)),
                Err(reset) => {
                    assert_eq!(reset, Some(Reason::CANCEL));
                    held += 1;
                }
            }
        }
        assert!((8..=20).contains(&held), "{held} answers of nearly 1 MiB, each charged twice that, fit in 28 MiB");
        assert!(refused.iter().all(|reason| reason == "INFLIGHT_BYTES_FULL"), "{refused:?}");
        // The bytes that they held are free again.
        drop(attacker.call(LIST, &page).await.answer().await.unwrap());
    }
    // By now the quiet watch has lasted longer than a stalled stream may.
    publish.send_replace(views_of((0..201).map(|_| connected("", "new", "x", "authorized")), 1000));
    quiet.message().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_arrive_is_refused() {
    let api = TestApi::open().await;
    let attacker = Raw::connect(api.address, WINDOW).await;
    let headers = attacker.begin(GET_EVENT).await;
    let mut half = attacker.begin(GET_EVENT).await;
    half.announce(100);
    let mut import = attacker.begin(IMPORT).await;
    import.announce(100);
    for call in [headers, half, import] {
        let status = call.answer().await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "REQUEST_TIMEOUT"));
    }
}

#[tokio::test]
async fn a_request_over_its_limit_is_refused_before_it_arrives() {
    let api = TestApi::open().await;
    let attacker = Raw::connect(api.address, WINDOW).await;
    for (path, bytes) in [(GET_EVENT, 512 * 1024 + 1), (IMPORT, 1024 * 1024 + 1)] {
        let mut call = attacker.begin(path).await;
        call.announce(bytes);
        assert_eq!(reason(&call.answer().await.unwrap_err()), "REQUEST_TOO_LARGE");
    }
    let large = ImportEventsRequest { payloads: vec![vec![b'x'; 900_000].into()], ..Default::default() };
    drop(attacker.call(IMPORT, &large).await.answer().await.unwrap());
}

#[tokio::test]
async fn announced_requests_are_charged_before_they_arrive() {
    let api = TestApi::open().await;
    let attacker = Raw::connect(api.address, WINDOW).await;
    let mut calls = Vec::new();
    for _ in 0..120 {
        let mut call = attacker.begin(GET_EVENT).await;
        call.announce(512 * 1024);
        calls.push(call);
    }
    let mut refused = 0;
    for call in calls {
        match reason(&call.answer().await.unwrap_err()).as_str() {
            "INFLIGHT_BYTES_FULL" => refused += 1,
            other => assert_eq!(other, "REQUEST_TIMEOUT"),
        }
    }
    assert_eq!(refused, 120 - 56);
    attacker.call(GET_EVENT, &GetEventRequest::default()).await.answer().await.unwrap_err();
}

#[tokio::test]
async fn the_streams_of_a_caller_leave_room_for_status_and_others() {
    let api = TestApi::with(Setup { watches_max: 20, ..Setup::default() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let attacker = Raw::connect(api.address, WINDOW).await;
        for _ in 0..120 {
            held.push(attacker.begin(GET_EVENT).await);
        }
    }
    let attacker = Raw::connect(api.address, WINDOW).await;
    let status = attacker.head().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"));
    drop(attacker.call(GET_STATUS, &GetStatusRequest {}).await.answer().await.unwrap());
    api.events().get_head(GetHeadRequest {}).await.unwrap();
}

#[tokio::test]
async fn the_watches_of_a_caller_leave_room_for_others() {
    let api = TestApi::with(Setup { watches_max: 3, watches_share: 2, ..Setup::default() }).await;
    let attacker = Raw::connect(api.address, WINDOW).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(attacker.call(WATCH, &WatchConnectionsRequest::default()).await.answer().await.unwrap());
    }
    let status = attacker.call(WATCH, &WatchConnectionsRequest::default()).await.answer().await.unwrap_err();
    assert_eq!(reason(&status), "TOO_MANY_WATCHES");
    api.connections().watch_connections(WatchConnectionsRequest::default()).await.unwrap();
}

/// Address of gRPC clients.
const NEIGHBOUR: [u8; 4] = [127, 0, 0, 1];

#[tokio::test]
async fn watches_that_take_nothing_keep_no_place_of_a_scan() {
    let api = TestApi::with(Setup { watches_max: 100, watches_share: 100, ..Setup::default() }).await;
    for number in 0..4 {
        let mut event = connected(&format!("e{number}"), "c", "x", "authorized");
        event["data"]["note"] = "x".repeat(400_000).into();
        api.append(&event).await;
    }
    let start = Some(WatchStart { position: Some(Start::AfterPosition(0)) });
    let request = WatchEventsRequest { start, ..Default::default() };
    let raw = Raw::connect_from(NEIGHBOUR, api.address, 1).await;
    let mut unread = Vec::new();
    for _ in 0..60 {
        unread.push(raw.call(WATCH_EVENTS, &request).await.answer().await.unwrap());
    }
    // A list for the same caller, whose share is as small as the number of cores.
    api.connections().list_connections(ListConnectionsRequest::default()).await.unwrap();
}

/// All watches with the same request share the changes that are read for them.
#[tokio::test]
async fn a_watch_that_takes_nothing_delays_none_of_the_same_request() {
    let api = TestApi::with(Setup { watches_max: 100, watches_share: 100, ..Setup::default() }).await;
    let request = WatchConnectionsRequest { include_event: true, ..Default::default() };
    // The windows are large enough for the first messages, but too small for some change.
    let mut unread = Vec::new();
    for window in (400..60_000).step_by(1200) {
        let raw = Raw::connect_from(NEIGHBOUR, api.address, window).await;
        unread.push((raw.call(WATCH, &request).await.answer().await.unwrap(), raw));
    }
    let mut watch = api.connections().watch_connections(request).await.unwrap().into_inner();
    let events: Vec<_> = (0..200).map(|number| connected(&format!("e{number}"), "c", "x", "authorized")).collect();
    for event in &events {
        api.append(event).await;
    }
    let all_changes = async {
        let mut changes = 0;
        while changes < events.len() {
            let message = watch.message().await.unwrap().unwrap().message;
            changes += usize::from(matches!(message, Some(Change::ChangeBatch(_))));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all_changes).await.expect("before the other is reset");
}

#[tokio::test]
async fn busy_connections_leave_seats_for_status_and_others() {
    let api = TestApi::with(Setup { watches_max: 300, watches_share: 300, ..Setup::default() }).await;
    let mut open = Vec::new();
    for _ in 0..64 {
        let attacker = Raw::connect(api.address, WINDOW).await;
        let watch = attacker.call(WATCH, &WatchConnectionsRequest::default()).await.answer().await.unwrap();
        open.push((attacker, watch));
    }
    let mut unfinished = Vec::new();
    for _ in 0..5 {
        let attacker = Raw::connect(api.address, WINDOW).await;
        let status = attacker.head().await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_CONNECTIONS"));
        let watch = attacker.call(HEALTH_WATCH, &HealthCheckRequest::default()).await.answer().await;
        assert_eq!(reason(&watch.unwrap_err()), "TOO_MANY_CONNECTIONS");
        let call = attacker.begin(GET_STATUS).await;
        // The answer shows that the server has seen the call before it.
        drop(attacker.call(GET_STATUS, &GetStatusRequest {}).await.answer().await.unwrap());
        unfinished.push((attacker, call));
    }
    assert!(Raw::try_connect(api.address, WINDOW).await.is_none());
    let channel = api.narrow_channel().await;
    cleat::proto::event_service_client::EventServiceClient::new(channel).get_head(GetHeadRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_watch_of_the_health_counts_and_ends_as_any_watch() {
    let watch_max_age = Duration::from_millis(300);
    let api = TestApi::with(Setup { watches_max: 3, watches_share: 1, watch_max_age, ..Setup::default() }).await;
    let attacker = Raw::connect(api.address, WINDOW).await;
    let watch = attacker.call(HEALTH_WATCH, &HealthCheckRequest::default()).await.answer().await.unwrap();
    let status = attacker.call(WATCH, &WatchConnectionsRequest::default()).await.answer().await.unwrap_err();
    assert_eq!(reason(&status), "TOO_MANY_WATCHES");
    assert_eq!(end(watch).await.map(|status| reason(&status)), Ok("WATCH_MAX_AGE".into()));
    drop(attacker.call(WATCH, &WatchConnectionsRequest::default()).await.answer().await.unwrap());
}

#[tokio::test]
async fn two_callers_at_their_limits_leave_room_for_a_third() {
    let api = TestApi::open().await;
    let mut held = Vec::new();
    for source in [[127, 0, 0, 2], [127, 0, 0, 3]] {
        let last = Raw::connect_from(source, api.address, WINDOW).await;
        let large = Raw::connect_from(source, api.address, WINDOW).await;
        for _ in 0..64 {
            let mut call = large.begin(GET_EVENT).await;
            call.announce(512 * 1024);
            held.push(call);
        }
        for _ in 0..5 {
            let caller = Raw::connect_from(source, api.address, WINDOW).await;
            for _ in 0..100 {
                held.push(caller.begin(GET_EVENT).await);
            }
        }
        // A call that is refused late leaves room for another, so calls are begun until none is admitted.
        while last.head().await.is_ok() {
            held.push(last.begin(GET_EVENT).await);
        }
    }
    let payloads = vec![vec![b'x'; 900_000].into()];
    let messages = tokio_stream::once(ImportEventsRequest { payloads, ..Default::default() });
    api.admin().import_events(messages).await.unwrap();
    api.events().get_head(GetHeadRequest {}).await.unwrap();
}

#[tokio::test]
async fn silent_connections_give_way_at_once() {
    let api = TestApi::open().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(socket(api.address).await);
    }
    let soon = tokio::time::timeout(Duration::from_secs(5), Raw::connect(api.address, WINDOW));
    drop(soon.await.expect("before any silent connection times out").head().await.unwrap());
    api.events().get_head(GetHeadRequest {}).await.unwrap();
}
