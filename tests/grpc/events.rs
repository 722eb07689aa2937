//! Reads of the log: bounded, in order, of one tenant, and with events whose bodies are unreadable.

use std::sync::Arc;

use cleat::event::ModeVerdict;
use cleat::proto::{ConnectionFilter, ConnectionStatus, Event, EventFilter, ReadEventsRequest};
use cleat::serve::Principal;
use serde_json::json;
use tonic::Code;

use crate::support::*;

/// Returns all events read, and the positions of the messages.
async fn read(api: &TestApi, request: ReadEventsRequest) -> (Vec<Event>, Vec<u64>) {
    let mut parts = api.events().read_events(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    let mut message_positions = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        assert!(part.events.iter().all(|event| event.position <= part.position));
        message_positions.push(part.position);
        events.extend(part.events);
    }
    (events, message_positions)
}

fn filtered(filter: EventFilter) -> ReadEventsRequest {
    ReadEventsRequest { filter: Some(filter), ..Default::default() }
}

fn of_types(types: &[&str]) -> EventFilter {
    EventFilter { types: types.iter().map(|name| (*name).to_owned()).collect(), ..Default::default() }
}

fn positions(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.position).collect()
}

#[tokio::test]
async fn a_stretch_is_read_in_order_and_to_its_end() {
    let api = TestApi::open().await;
    assert_eq!(read(&api, ReadEventsRequest::default()).await, (vec![], vec![]), "nothing is there");
    for number in 1..=300 {
        let id = format!("e{number}");
        let body = if number % 2 == 0 { revoked(&id, "c") } else { exported(&id, "t", "c") };
        api.append(&body).await;
    }
    let (all, reached) = read(&api, ReadEventsRequest::default()).await;
    assert!(positions(&all).into_iter().eq(1..=300) && reached.last() == Some(&300));
    assert!(all.iter().all(|event| !event.body.is_empty() && !event.unreadable));

    let part = ReadEventsRequest { from_position: 17, to_position: 40, ..Default::default() };
    assert!(positions(&read(&api, part.clone()).await.0).into_iter().eq(17..=40));
    let typed = ReadEventsRequest { filter: Some(of_types(&["patient.authorization_revoked", "x"])), ..part };
    assert!(positions(&read(&api, typed).await.0).into_iter().eq((18..=40).step_by(2)));
    let beyond = ReadEventsRequest { from_position: 299, to_position: 1000, ..Default::default() };
    assert_eq!(positions(&read(&api, beyond).await.0), [299, 300]);
    let backwards = ReadEventsRequest { from_position: 40, to_position: 17, ..Default::default() };
    assert_eq!(read(&api, backwards).await, (vec![], vec![]));
}

#[tokio::test]
async fn large_events_come_in_messages_that_a_client_takes() {
    let api = TestApi::open().await;
    let mut large = exported("", "t", "c");
    large["data"]["padding"] = "x".repeat(400_000).into();
    for number in 0..12 {
        large["id"] = format!("e{number}").into();
        api.append(&large).await;
    }
    let (events, reached) = read(&api, ReadEventsRequest::default()).await;
    assert!(positions(&events).into_iter().eq(1..=12));
    assert!(reached.len() >= 4, "in {} messages", reached.len());
}

#[tokio::test]
async fn conflict_is_listed_with_its_first_event_and_changes_nothing() {
    let api = TestApi::open().await;
    api.append(&connected("e1", "c", "patient", "authorized")).await;
    api.append(&exported("e2", "t", "c")).await;
    assert!(api.append(&revoked("e1", "c")).await.outcome == cleat::log::AppendOutcome::Conflict);
    let request = filtered(EventFilter { conflicting: true, ..Default::default() });
    let (found, reached) = read(&api, request).await;
    assert_eq!((positions(&found), found[0].conflict_of, reached.last()), (vec![3], 1, Some(&3)));
    assert_eq!(found[0].r#type, "patient.authorization_revoked");
    let connection = every_connection(&api, ConnectionFilter::default(), 10).await.remove(0);
    assert_eq!((connection.status(), connection.version), (ConnectionStatus::Authorized, 2));
}

#[tokio::test]
async fn unreadable_events_are_listed_but_not_those_of_other_tenants() {
    let api = TestApi::with(Setup {
        principal: Principal::loopback([Arc::from("acme"), Arc::from("other")]),
        ..Setup::default()
    })
    .await;
    api.append(&exported("", "t", "c")).await;
    api.append(&json!(["no object"])).await;
    api.append_as("other", ModeVerdict::Live, &json!("nor this")).await;
    api.append_as("acme", ModeVerdict::Mismatched, &json!({})).await;
    let of = |tenant: &str| ReadEventsRequest { tenant: tenant.into(), ..Default::default() };
    let unreadable = |tenant: &str| ReadEventsRequest {
        filter: Some(EventFilter { unreadable: true, ..Default::default() }),
        ..of(tenant)
    };
    assert_eq!(positions(&read(&api, of("acme")).await.0), [1, 2, 4]);
    let (found, reached) = read(&api, unreadable("acme")).await;
    assert_eq!((positions(&found), reached.last()), (vec![2], Some(&4)));
    assert_eq!((found[0].unreadable, &found[0].body[..]), (true, &br#"["no object"]"#[..]));
    assert_eq!(positions(&read(&api, unreadable("other")).await.0), [3]);
    let mismatched =
        ReadEventsRequest { filter: Some(EventFilter { mismatched: true, ..Default::default() }), ..of("acme") };
    assert_eq!(positions(&read(&api, mismatched).await.0), [4]);
    assert_eq!(refused(api.events().read_events(of("")).await).1, "TENANT_REQUIRED");
    assert_eq!(refused(api.events().read_events(of("nobody")).await).0, Code::PermissionDenied);
}
