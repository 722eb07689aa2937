//! History: a connection's events with the state after each, and any state as of an earlier position or time.

use cleat::proto::as_of::Moment;
use cleat::proto::{
    AsOf, Connection, ConnectionEvent, GetConnectionRequest, GetExportRequest, GetStatusRequest,
    ListConnectionEventsRequest, ListConnectionEventsResponse, RebuildViewsRequest,
};
use tonic::Code;

use crate::support::*;

/// Returns an API whose ring keeps next to nothing, so that the history is read from the change log.
async fn story() -> TestApi {
    let api = TestApi::with(Setup { ring_len: 1, ..Setup::default() }).await;
    for round in 0..5 {
        api.append(&connected(&format!("a{round}"), "c", &format!("x{round}"), "authorized")).await;
        api.append(&connected(&format!("b{round}"), "other", "y", "authorized")).await;
        api.append(&exported(&format!("c{round}"), &format!("t{}", round / 2), "c")).await;
        api.append(&revoked(&format!("d{round}"), "c")).await;
    }
    api.applied().await;
    api
}

fn list(page_size: i32, page_token: &str) -> ListConnectionEventsRequest {
    let page_token = page_token.to_owned();
    ListConnectionEventsRequest { org_connection_id: "c".into(), page_size, page_token, ..Default::default() }
}

async fn page(api: &TestApi, page_size: i32, token: &str) -> ListConnectionEventsResponse {
    api.connections().list_connection_events(list(page_size, token)).await.unwrap().into_inner()
}

async fn history(api: &TestApi) -> Vec<ConnectionEvent> {
    let (mut events, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(api, 4, &token).await;
        assert!(page.events.len() == 4 || page.next_page_token.is_empty());
        events.extend(page.events);
        token = page.next_page_token;
        if token.is_empty() {
            return events;
        }
    }
}

async fn as_of(api: &TestApi, moment: Moment) -> Result<Connection, tonic::Status> {
    let as_of = Some(AsOf { moment: Some(moment) });
    let request = GetConnectionRequest { org_connection_id: "c".into(), as_of, ..Default::default() };
    api.connections().get_connection(request).await.map(|answer| answer.into_inner().connection.unwrap())
}

#[tokio::test]
async fn history_lists_every_event_once_with_the_state_after_it() {
    let api = story().await;
    let events = history(&api).await;
    let positions: Vec<u64> = events.iter().map(|event| event.position).collect();
    let expected: Vec<u64> = (1..=20).rev().filter(|position| position % 4 != 2).collect();
    assert_eq!(positions, expected, "the newest first, and none of another connection");
    for (event, version) in events.iter().zip((1..=15).rev()) {
        let connection = event.connection.as_ref().unwrap();
        assert_eq!((connection.version, connection.last_position), (version, event.position));
        let exports: Vec<&str> = event.exports.iter().map(|export| export.task_id.as_str()).collect();
        match event.position % 4 {
            1 => assert_eq!(
                (event.r#type.as_str(), event.event_key.starts_with("id:a")),
                ("patient.connection_success", true)
            ),
            3 => assert_eq!(exports, [format!("t{}", (event.position / 4) / 2)]),
            _ => assert_eq!(event.r#type, "patient.authorization_revoked"),
        }
    }
}

#[tokio::test]
async fn any_state_can_be_asked_for_as_of_an_earlier_position_or_time() {
    let api = story().await;
    let events = history(&api).await;
    for position in 1..=20 {
        let then = events.iter().find(|event| event.position <= position).unwrap();
        assert_eq!(Some(as_of(&api, Moment::Position(position)).await.unwrap()), then.connection);
        let recorded = events.iter().find(|event| event.position == position).and_then(|event| event.recorded_at);
        if let Some(time) = recorded {
            assert_eq!(Some(as_of(&api, Moment::Time(time)).await.unwrap()), then.connection);
        }
    }
    let export = |position| {
        let as_of = Some(AsOf { moment: Some(Moment::Position(position)) });
        let request = GetExportRequest { task_id: "t0".into(), as_of, ..Default::default() };
        let mut exports = api.exports();
        async move { exports.get_export(request).await.map(|answer| answer.into_inner().export.unwrap()) }
    };
    assert_eq!(refused(export(2).await).1, "EXPORT_NOT_FOUND");
    let (first, second) = (export(6).await.unwrap(), export(20).await.unwrap());
    assert_eq!((first.version, first.external_id.as_str(), first.last_position), (1, "x1", 3));
    assert_eq!((second.version, second.external_id.as_str(), second.last_position), (2, "x4", 7));
}

#[tokio::test]
async fn future_or_too_early_moments_and_foreign_tokens_are_refused() {
    let api = story().await;
    let (code, reason, _) = refused(as_of(&api, Moment::Position(21)).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    for moment in [Moment::Position(0), Moment::Time(prost_types::Timestamp { seconds: 1, nanos: 0 })] {
        assert_eq!(refused(as_of(&api, moment).await).1, "CONNECTION_NOT_FOUND");
    }
    let token = page(&api, 1, "").await.next_page_token;
    let other = ListConnectionEventsRequest { org_connection_id: "other".into(), ..list(1, &token) };
    assert_eq!(refused(api.connections().list_connection_events(other).await).1, "INVALID_PAGE_TOKEN");
    let unknown = ListConnectionEventsRequest { org_connection_id: "none".into(), ..list(1, "") };
    assert_eq!(refused(api.connections().list_connection_events(unknown).await).1, "CONNECTION_NOT_FOUND");
}

#[tokio::test]
async fn rebuilt_views_show_the_same_and_the_daemon_goes_on_meanwhile() {
    let api = story().await;
    let before = history(&api).await;
    api.admin().rebuild_views(RebuildViewsRequest {}).await.unwrap();
    api.append(&revoked("e", "c")).await;
    while api.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner().rebuild_position.is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    api.applied().await;
    let after = history(&api).await;
    assert_eq!((after.len(), &after[1..]), (16, &before[..]));
}
