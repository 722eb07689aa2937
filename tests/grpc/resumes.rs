//! Starts of a watch: after any message of an earlier one, and after any position. Other tokens are refused, each with
//! its own reason.

use std::sync::Arc;
use std::time::Duration;

use cleat::event::{Cursor, Identity};
use cleat::fold::FOLD_VERSION;
use cleat::proto::watch_connections_response::Message;
use cleat::proto::watch_start::Position as Start;
use cleat::proto::{
    ApiMode, ConnectionFilter, ConnectionStatus, ListConnectionsRequest, WatchConnectionsRequest,
    WatchConnectionsResponse, WatchKind, WatchStart,
};
use cleat::serve::Principal;
use cleat::token::Token;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tonic::Code;

use crate::follower::snapshot;
use crate::generated::random_event;
use crate::support::*;

fn starting(start: Start, request: &WatchConnectionsRequest) -> WatchConnectionsRequest {
    WatchConnectionsRequest { start: Some(WatchStart { position: Some(start) }), ..request.clone() }
}

/// Returns all messages, including the first, until the watch has caught up.
async fn messages(api: &TestApi, request: WatchConnectionsRequest) -> Vec<WatchConnectionsResponse> {
    let mut stream = api.connections().watch_connections(request).await.unwrap().into_inner();
    let mut all = Vec::new();
    loop {
        let message = stream.message().await.unwrap().unwrap();
        let caught_up = matches!(message.message, Some(Message::CaughtUp(_)));
        all.push(message);
        if caught_up {
            return all;
        }
    }
}

/// Returns only the messages with changes.
fn changes(messages: &[WatchConnectionsResponse]) -> Vec<&WatchConnectionsResponse> {
    messages.iter().filter(|message| matches!(message.message, Some(Message::ChangeBatch(_)))).collect()
}

async fn api_with_history() -> TestApi {
    let mut random = StdRng::seed_from_u64(8);
    // The ring is small, so that most changes are read from the change log.
    let api = TestApi::with(Setup { ring_len: 20, ..Setup::default() }).await;
    for number in 0..300 {
        api.append(&random_event(&mut random, &format!("e{number}"))).await;
    }
    api.applied().await;
    api
}

fn requests() -> [WatchConnectionsRequest; 3] {
    let authorized = ConnectionFilter { statuses: vec![ConnectionStatus::Authorized.into()], ..Default::default() };
    let filtered = WatchConnectionsRequest { filter: Some(authorized), include_previous: true, ..Default::default() };
    let exports = WatchConnectionsRequest { kinds: vec![WatchKind::Export.into()], ..Default::default() };
    [WatchConnectionsRequest::default(), filtered, exports]
}

#[tokio::test]
async fn a_watch_goes_on_after_any_message_and_after_any_position() {
    let api = api_with_history().await;
    for request in requests() {
        let whole = messages(&api, starting(Start::AfterPosition(0), &request)).await;
        assert!(changes(&whole).len() > 50, "{}", changes(&whole).len());
        for (at, message) in whole.iter().enumerate().step_by(7) {
            let resumed = messages(&api, starting(Start::ResumeToken(message.resume_token.clone()), &request)).await;
            assert_eq!(changes(&resumed), changes(&whole[at + 1..]), "after message {at}");
            assert_eq!((resumed[0].position, &resumed[0].resume_token), (message.position, &message.resume_token));
        }
        for position in (0..=300).step_by(23) {
            let later = messages(&api, starting(Start::AfterPosition(position), &request)).await;
            let expected = changes(&whole).into_iter().filter(|message| message.position > position);
            assert_eq!(changes(&later), expected.collect::<Vec<_>>(), "after position {position}");
        }
    }
}

#[tokio::test]
async fn changes_bear_their_events_and_are_filtered_by_event_types() {
    let api = api_with_history().await;
    let request = WatchConnectionsRequest { include_event: true, ..Default::default() };
    let whole = messages(&api, starting(Start::AfterPosition(0), &request)).await;
    let batch_of = |message: &WatchConnectionsResponse| match &message.message {
        Some(Message::ChangeBatch(batch)) => batch.clone(),
        other => panic!("{other:?}"),
    };
    let mut exported = Vec::new();
    for message in changes(&whole) {
        let event = batch_of(message).into_inner().event.unwrap();
        assert!(event.position == message.position && !event.body.is_empty());
        if event.r#type == "patient.ehi_export_success" {
            exported.push(message.position);
        }
    }
    assert!(exported.len() > 20 && exported.len() < changes(&whole).len());

    let event_types = vec!["patient.ehi_export_success".to_owned(), "patient.new".to_owned()];
    let filter = Some(ConnectionFilter { event_types, ..Default::default() });
    let request = WatchConnectionsRequest { filter: filter.clone(), ..Default::default() };
    let some = messages(&api, starting(Start::AfterPosition(0), &request)).await;
    assert!(changes(&some).iter().map(|message| message.position).eq(exported));
    assert!(changes(&some).iter().all(|message| batch_of(message).event.is_none()));
    let answer = api.connections().list_connections(ListConnectionsRequest { filter, ..Default::default() }).await;
    assert_eq!(refused(answer).1, "INVALID_FILTER");
}

#[tokio::test]
async fn a_resume_from_inside_a_snapshot_repeats_the_whole_snapshot() {
    let api = api_with_history().await;
    let whole = messages(&api, snapshot()).await;
    let end = whole.iter().position(|message| matches!(message.message, Some(Message::SnapshotEnd(_)))).unwrap();
    assert!(end > 1);
    for (at, message) in whole.iter().enumerate() {
        let start = Start::ResumeToken(message.resume_token.clone());
        let resumed = messages(&api, starting(start, &WatchConnectionsRequest::default())).await;
        let Some(Message::Started(started)) = &resumed[0].message else { panic!("it begins with Started") };
        assert_eq!(started.snapshot, at < end, "after message {at}");
        if started.snapshot {
            assert_eq!(resumed, whole);
        } else {
            assert_eq!(resumed.len(), 2, "nothing but Started and CaughtUp");
        }
    }
}

#[tokio::test]
async fn watch_from_before_the_first_event_resumes_without_a_snapshot() {
    let api = TestApi::open().await;
    let first = messages(&api, WatchConnectionsRequest::default()).await;
    api.append(&connected("e1", "c", "x", "authorized")).await;
    api.applied().await;
    let start = Start::ResumeToken(first[0].resume_token.clone());
    let resumed = messages(&api, starting(start, &WatchConnectionsRequest::default())).await;
    assert_eq!(resumed.iter().map(|message| message.position).collect::<Vec<_>>(), [0, 1, 1]);
}

#[tokio::test]
async fn old_watch_is_sent_away_and_resumes_while_changes_pour_in() {
    let api = TestApi::with(Setup { watch_max_age: Duration::from_secs(1), ring_len: 20, ..Setup::default() }).await;
    let pouring = async {
        for number in 0.. {
            api.append(&connected(&format!("e{number}"), "c", "x", "authorized")).await;
        }
    };
    let watching = async {
        let mut request = starting(Start::AfterPosition(0), &WatchConnectionsRequest::default());
        let mut version = 0;
        for _ in 0..3 {
            let mut stream = api.connections().watch_connections(request.clone()).await.unwrap().into_inner();
            let token = loop {
                let message = stream.message().await.unwrap().unwrap();
                match message.message.unwrap() {
                    Message::ChangeBatch(_) => {
                        version += 1;
                        assert_eq!(message.position, version, "each, once");
                    }
                    Message::GoingAway(going) => {
                        assert_eq!(going.reason, "WATCH_MAX_AGE");
                        assert!(going.reconnect_after.is_some());
                        break message.resume_token;
                    }
                    _ => {}
                }
            };
            assert_eq!(refused(stream.message().await), (Code::Unavailable, "WATCH_MAX_AGE".into(), true));
            request = starting(Start::ResumeToken(token), &request);
        }
        assert!(version > 100, "{version} changes");
    };
    tokio::select! {
        () = pouring => unreachable!("it goes on for ever"),
        () = watching => {}
    }
}

#[tokio::test]
async fn a_token_of_something_else_is_refused_with_its_own_reason() {
    let principal = Principal::loopback([Arc::from("acme"), Arc::from("other")]);
    let api = TestApi::with(Setup { principal, ..Setup::default() }).await;
    for number in 0..3 {
        api.append(&connected(&format!("e{number}"), "c", "x", "authorized")).await;
    }
    let request = WatchConnectionsRequest { tenant: "acme".into(), ..Default::default() };
    api.applied().await;
    let text = messages(&api, request.clone()).await.pop().unwrap().resume_token;
    let token = Token::decode(&text).unwrap();
    let with = |start: String, request: &WatchConnectionsRequest| starting(Start::ResumeToken(start), request);
    let another = Identity { epoch: 9, ..token.identity };
    let read = Token { filter_hash: 0, fold_version: 0, ..token };
    let of_another = |request: WatchConnectionsRequest| with(text.clone(), &request);
    let cases = [
        (with("any".into(), &request), Code::InvalidArgument, "INVALID_RESUME_TOKEN"),
        (with(text[..80].into(), &request), Code::InvalidArgument, "INVALID_RESUME_TOKEN"),
        (with(read.encode(), &request), Code::InvalidArgument, "INVALID_RESUME_TOKEN"),
        (with(Token { identity: another, ..token }.encode(), &request), Code::FailedPrecondition, "LOG_EPOCH_CHANGED"),
        (
            with(Token { cursor: Cursor { position: 2, ..token.cursor }, ..token }.encode(), &request),
            Code::FailedPrecondition,
            "LOG_EPOCH_CHANGED",
        ),
        (
            with(Token { cursor: Cursor { position: 4, ..token.cursor }, ..token }.encode(), &request),
            Code::FailedPrecondition,
            "LOG_EPOCH_CHANGED",
        ),
        (
            with(Token { fold_version: FOLD_VERSION + 1, ..token }.encode(), &request),
            Code::FailedPrecondition,
            "VIEW_VERSION_CHANGED",
        ),
        (
            of_another(WatchConnectionsRequest { kinds: vec![WatchKind::Export.into()], ..request.clone() }),
            Code::InvalidArgument,
            "RESUME_TOKEN_FILTER_MISMATCH",
        ),
        (
            of_another(WatchConnectionsRequest { tenant: "other".into(), ..request.clone() }),
            Code::InvalidArgument,
            "RESUME_TOKEN_FILTER_MISMATCH",
        ),
        (
            of_another(WatchConnectionsRequest { api_mode: ApiMode::Test.into(), ..request.clone() }),
            Code::InvalidArgument,
            "RESUME_TOKEN_FILTER_MISMATCH",
        ),
        (starting(Start::AfterPosition(4), &request), Code::InvalidArgument, "INVALID_FIELD"),
    ];
    for (number, (request, code, reason)) in cases.into_iter().enumerate() {
        let answer = api.connections().watch_connections(request).await;
        assert_eq!(refused(answer), (code, reason.into(), false), "case {number}");
    }
    // A request may differ in how changes are shown and in its heartbeat interval.
    let shown = WatchConnectionsRequest { include_previous: true, ..request };
    assert_eq!(messages(&api, with(text, &shown)).await.len(), 2);
}
