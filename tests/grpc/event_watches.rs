//! Watches of the log itself: every event once and in order, wherever they start, and how they end.

use std::sync::Arc;
use std::time::Duration;

use cleat::event::{Cursor, ModeVerdict};
use cleat::proto::watch_events_response::Message;
use cleat::proto::watch_start::Position as Start;
use cleat::proto::{Event, EventFilter, WatchEventsRequest, WatchEventsResponse, WatchStart};
use cleat::serve::{Principal, Scope, ServingState};
use cleat::token::Token;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;
use tonic::{Code, Streaming};

use crate::generated::random_event;
use crate::support::*;

fn starting(start: Start) -> WatchEventsRequest {
    WatchEventsRequest { start: Some(WatchStart { position: Some(start) }), ..Default::default() }
}

async fn watch(api: &TestApi, request: WatchEventsRequest) -> Streaming<WatchEventsResponse> {
    api.events().watch_events(request).await.unwrap().into_inner()
}

/// Returns all messages until the watch has caught up.
async fn messages(api: &TestApi, request: WatchEventsRequest) -> Vec<WatchEventsResponse> {
    let mut stream = watch(api, request).await;
    let mut all = Vec::<WatchEventsResponse>::new();
    while !all.iter().any(|message| matches!(message.message, Some(Message::CaughtUp(_)))) {
        all.push(stream.message().await.unwrap().unwrap());
    }
    assert!(all.is_sorted_by_key(|message| message.position));
    all
}

fn events(messages: &[WatchEventsResponse]) -> Vec<Event> {
    let batches = messages.iter().filter_map(|message| match &message.message {
        Some(Message::EventBatch(batch)) => {
            assert!(!batch.events.is_empty() && batch.events.iter().all(|event| event.position <= message.position));
            Some(batch.events.clone())
        }
        _ => None,
    });
    batches.flatten().collect()
}

fn positions(messages: &[WatchEventsResponse]) -> Vec<u64> {
    events(messages).iter().map(|event| event.position).collect()
}

#[tokio::test]
async fn every_event_is_sent_once_in_order_wherever_a_watch_starts() {
    let api = TestApi::open().await;
    let mut random = StdRng::seed_from_u64(9);
    for number in 0..300 {
        api.append(&random_event(&mut random, &format!("e{number}"))).await;
    }
    let whole = messages(&api, starting(Start::AfterPosition(0))).await;
    assert!(positions(&whole).into_iter().eq(1..=300));
    assert!(events(&whole).iter().all(|event| !event.body.is_empty()));
    for position in (0..=300).step_by(29) {
        let later = messages(&api, starting(Start::AfterPosition(position))).await;
        assert!(positions(&later).into_iter().eq(position + 1..=300), "after {position}");
    }
    for message in &whole {
        let later = messages(&api, starting(Start::ResumeToken(message.resume_token.clone()))).await;
        assert!(positions(&later).into_iter().eq(message.position + 1..=300), "after {}", message.position);
    }
    let filter = EventFilter { types: vec!["patient.authorization_revoked".into()], ..Default::default() };
    let filtered = WatchEventsRequest { filter: Some(filter), ..starting(Start::AfterPosition(0)) };
    let expected = events(&whole).into_iter().filter(|event| event.r#type == "patient.authorization_revoked");
    assert_eq!(events(&messages(&api, filtered).await), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_live_watch_shows_new_events_of_its_tenant_only() {
    let principal = Principal::new([Arc::from("acme"), Arc::from("other")], &[Scope::ExportsLinks]);
    let api = TestApi::with(Setup { principal, ..Setup::default() }).await;
    api.append(&json!({"id": "before"})).await;
    let mut stream = watch(&api, WatchEventsRequest { tenant: "acme".into(), ..Default::default() }).await;
    for position in [1, 1] {
        assert_eq!(stream.message().await.unwrap().unwrap().position, position, "Started, and CaughtUp");
    }
    api.append_as("other", ModeVerdict::Live, &json!({"id": "theirs"})).await;
    api.append_as("acme", ModeVerdict::Mismatched, &json!({"id": "ours"})).await;
    let mut shown = Vec::new();
    while shown.is_empty() {
        shown.extend(events(&[stream.message().await.unwrap().unwrap()]));
    }
    assert_eq!((shown[0].position, shown[0].tenant.as_str(), shown[0].body.len()), (3, "acme", 0), "without the scope");
    api.state.send_replace(ServingState::ShuttingDown);
    let going = loop {
        match stream.message().await.unwrap().unwrap().message.unwrap() {
            Message::GoingAway(going) => break going,
            Message::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(going.reason, "SHUTTING_DOWN");
    assert_eq!(refused(stream.message().await), (Code::Unavailable, "SHUTTING_DOWN".into(), true));
}

#[tokio::test]
async fn quiet_watch_gets_heartbeats_and_an_old_one_is_sent_away() {
    let api = TestApi::with(Setup { watch_max_age: Duration::from_secs(3), ..Setup::default() }).await;
    let heartbeat_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let mut stream = watch(&api, WatchEventsRequest { heartbeat_interval, ..Default::default() }).await;
    let mut heartbeats = 0;
    loop {
        match stream.message().await.unwrap().unwrap().message.unwrap() {
            Message::Heartbeat(_) => heartbeats += 1,
            Message::GoingAway(going) => {
                assert_eq!((going.reason.as_str(), heartbeats > 0), ("WATCH_MAX_AGE", true));
                break;
            }
            _ => {}
        }
    }
    assert_eq!(refused(stream.message().await).1, "WATCH_MAX_AGE");
}

#[tokio::test]
async fn a_start_that_makes_no_sense_is_refused_with_its_reason() {
    let api = TestApi::open().await;
    api.append(&json!({"id": "e1"})).await;
    let first = messages(&api, starting(Start::AfterPosition(0))).await.remove(0);
    let token = Token::decode(&first.resume_token).unwrap();
    let typed = EventFilter { types: vec!["x".into()], ..Default::default() };
    let many = EventFilter { types: vec!["x".into(); 21], ..Default::default() };
    let resumed = |token: Token| starting(Start::ResumeToken(token.encode()));
    let cases = [
        (starting(Start::Snapshot(true)), "INVALID_FIELD"),
        (starting(Start::Live(false)), "INVALID_FIELD"),
        (starting(Start::AfterPosition(2)), "INVALID_FIELD"),
        (WatchEventsRequest { filter: Some(many), ..Default::default() }, "INVALID_FILTER"),
        (WatchEventsRequest { filter: Some(typed), ..resumed(token) }, "RESUME_TOKEN_FILTER_MISMATCH"),
        (resumed(Token { filter_hash: 0, ..token }), "INVALID_RESUME_TOKEN"),
        (resumed(Token { fold_version: 1, ..token }), "VIEW_VERSION_CHANGED"),
        (resumed(Token { cursor: Cursor { position: 9, ..token.cursor }, ..token }), "LOG_EPOCH_CHANGED"),
    ];
    for (number, (request, reason)) in cases.into_iter().enumerate() {
        assert_eq!(refused(api.events().watch_events(request).await).1, reason, "case {number}");
    }
}
