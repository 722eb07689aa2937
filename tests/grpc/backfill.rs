//! Imports and readmitted events: in order, once, without a signature; and their refusals.

use std::sync::Arc;
use std::time::Duration;

use cleat::proto::get_event_request::Event as Asked;
use cleat::proto::{
    ConnectionFilter, ConnectionStatus, Event, GetEventRequest, ImportEventsRequest, ImportEventsResponse, Provenance,
    ReadmitEventsRequest,
};
use cleat::serve::{Principal, Scope};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::generated::random_event;
use crate::support::*;

fn request(payloads: &[Value]) -> ImportEventsRequest {
    let payloads = payloads.iter().map(|payload| serde_json::to_vec(payload).unwrap().into()).collect();
    ImportEventsRequest { payloads, ..Default::default() }
}

async fn import(api: &TestApi, requests: Vec<ImportEventsRequest>) -> Result<ImportEventsResponse, Status> {
    Ok(api.admin().import_events(tokio_stream::iter(requests)).await?.into_inner())
}

fn counts(response: &ImportEventsResponse) -> [u64; 4] {
    [response.imported, response.duplicates, response.conflicts, response.refused]
}

async fn event(api: &TestApi, position: u64) -> Event {
    let (tenant, event) = ("acme".into(), Some(Asked::Position(position)));
    api.events().get_event(GetEventRequest { tenant, event }).await.unwrap().into_inner().event.unwrap()
}

#[tokio::test]
async fn payloads_are_imported_in_order_once_and_marked() {
    let api = TestApi::open().await;
    let first = [connected("e1", "c", "patient", "authorized"), revoked("e2", "c")];
    let without_an_id = connected("", "d", "other", "authorized");
    let all = vec![request(&first), request(&[exported("e3", "t", "c"), without_an_id])];
    let response = import(&api, all.clone()).await.unwrap();
    assert_eq!((counts(&response), response.position), ([4, 0, 0, 0], 4));
    let again = import(&api, all).await.unwrap();
    assert_eq!((counts(&again), again.position), ([0, 4, 0, 0], 4));

    let imported = event(&api, 2).await;
    assert_eq!(
        (imported.provenance(), imported.event_key.as_str(), imported.endpoint.as_str()),
        (Provenance::Import, "id:e2", "fasten")
    );
    assert_eq!(
        (imported.webhook_signature, imported.secret_label, imported.webhook_id),
        (String::new(), String::new(), String::new())
    );
    assert!(event(&api, 4).await.event_key.starts_with("sha:"));
    let connections = every_connection(&api, ConnectionFilter::default(), 10).await;
    assert_eq!((connections[0].status(), connections[0].version), (ConnectionStatus::Revoked, 3));

    // A webhook that comes later is a duplicate. An event with the same key and other content is kept next to the
    // first, as a conflict.
    assert!(api.append(&first[0]).await.is_duplicate());
    let other = import(&api, vec![request(&[failed("e3", "t", "c", "other")])]).await.unwrap();
    assert_eq!((counts(&other), event(&api, 5).await.conflict_of), ([0, 0, 1, 0], 3));
}

/// The final state is right only if the order is: authorized first, revoked last.
#[tokio::test]
async fn five_thousand_payloads_keep_their_order_behind_a_slow_writer() {
    const PAYLOADS: u64 = 5000;
    let api = TestApi::slow().await;
    let payload = |at: u64| match at {
        1 => connected("e1", "c", "patient", "authorized"),
        PAYLOADS => revoked(&format!("e{PAYLOADS}"), "c"),
        at => json!({"api_mode": "live", "type": "webhook.test", "id": format!("e{at}")}),
    };
    let payloads: Vec<_> = (1..=PAYLOADS).map(payload).collect();
    let response = import(&api, vec![request(&payloads)]).await.unwrap();
    assert_eq!((counts(&response), response.position), ([PAYLOADS, 0, 0, 0], PAYLOADS));

    let mut tail = api.reader.tail(0);
    let mut keys = Vec::new();
    while keys.len() < payloads.len() {
        let read = tail.read().unwrap();
        keys.extend(read.into_iter().map(|event| event.delivery.key.unwrap().as_str().to_owned()));
    }
    let expected: Vec<_> = (1..=PAYLOADS).map(|at| format!("id:e{at}")).collect();
    assert!(keys == expected, "first out of order: {:?}", keys.iter().zip(&expected).find(|(is, due)| is != due));
    let connections = every_connection(&api, ConnectionFilter::default(), 10).await;
    assert_eq!(connections[0].status(), ConnectionStatus::Revoked);
}

/// Returns an API with endpoints "one" and "two" of tenant "acme", and "three" of tenant "other".
async fn with_three_endpoints() -> TestApi {
    let endpoint = |name: &str, tenant: &str| {
        format!(
            "[[webhooks.endpoints]]\nname = \"{name}\"\ntenant = \"{tenant}\"\n\
             secrets = [\"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"]\n"
        )
    };
    let config = [endpoint("one", "acme"), endpoint("two", "acme"), endpoint("three", "other")].concat();
    let principal = Principal::loopback([Arc::from("acme"), Arc::from("other")]);
    TestApi::with(Setup { webhooks: webhooks(&config), principal, ..Setup::default() }).await
}

#[tokio::test]
async fn an_import_that_names_two_tenants_or_endpoints_is_refused() {
    let api = with_three_endpoints().await;
    let to = |id: &str, tenant: &str, endpoint: &str, dry_run: bool| {
        let (tenant, endpoint) = (tenant.to_owned(), endpoint.to_owned());
        ImportEventsRequest { tenant, endpoint, dry_run, ..request(&[revoked(id, "c")]) }
    };
    let first = || to("e1", "acme", "one", false);
    for other in [
        to("e2", "other", "three", false),
        to("e2", "other", "", false),
        to("e2", "acme", "two", false),
        to("e2", "", "two", false),
        to("e2", "", "", true),
    ] {
        let answer = import(&api, vec![first(), other]).await;
        assert_eq!(refused(answer), (Code::InvalidArgument, "INVALID_FIELD".into(), false));
        assert_eq!(api.reader.head().position, 0, "nothing is appended");
    }
    let same = vec![first(), to("e2", "acme", "one", false), to("e3", "", "", false)];
    assert_eq!(import(&api, same).await.unwrap().imported, 3, "the same names may be repeated or left out");
    let named_later = vec![to("e4", "other", "", false), to("e5", "", "three", false)];
    assert_eq!(import(&api, named_later).await.unwrap().imported, 2, "the tenant's only endpoint");
}

#[tokio::test]
async fn import_that_names_another_tenant_late_keeps_earlier_events() {
    let api = with_three_endpoints().await;
    let to = |id: &str, tenant: &str| ImportEventsRequest {
        tenant: tenant.to_owned(),
        endpoint: if tenant == "acme" { "one".to_owned() } else { String::new() },
        ..request(&[revoked(id, "c")])
    };
    let answer = import(&api, vec![to("e1", "acme"), to("e2", ""), to("e3", "other")]).await;
    assert_eq!(refused(answer), (Code::InvalidArgument, "INVALID_FIELD".into(), false));
    assert_eq!(api.reader.head().position, 1, "the message before the other tenant's is not appended");
}

#[tokio::test]
async fn a_message_of_more_than_5000_payloads_is_refused() {
    let api = TestApi::open().await;
    let of = |count| ImportEventsRequest { payloads: vec![vec![].into(); count], ..Default::default() };
    let answer = import(&api, vec![of(5001)]).await;
    assert_eq!(refused(answer), (Code::InvalidArgument, "INVALID_FIELD".into(), false));
    assert_eq!(import(&api, vec![of(5000)]).await.unwrap().refused, 5000);
}

#[tokio::test]
async fn an_import_ends_at_a_later_message_without_payloads() {
    let api = TestApi::open().await;
    let empty = ImportEventsRequest::default;
    let answer = import(&api, vec![empty(), request(&[revoked("e1", "c")]), empty()]).await;
    assert_eq!(refused(answer), (Code::InvalidArgument, "INVALID_FIELD".into(), false));
    assert_eq!(import(&api, vec![empty(), request(&[revoked("e1", "c")])]).await.unwrap().imported, 1);
}

#[tokio::test]
async fn payloads_that_wait_are_charged_by_their_number() {
    let api = TestApi::open().await;
    let mut imports = tokio::task::JoinSet::new();
    for _ in 0..120 {
        let mut admin = api.admin();
        let message = ImportEventsRequest { payloads: vec![vec![].into(); 5000], ..Default::default() };
        let messages = tokio_stream::once(message).chain(tokio_stream::pending());
        imports.spawn(async move { admin.import_events(messages).await.map(tonic::Response::into_inner) });
    }
    let first = tokio::time::timeout(Duration::from_secs(60), imports.join_next())
        .await
        .expect("one is refused")
        .unwrap()
        .unwrap();
    assert_eq!(refused(first).1, "INFLIGHT_BYTES_FULL");
}

#[tokio::test]
async fn payloads_that_are_no_events_are_left_out_by_index() {
    let api = TestApi::with(Setup {
        webhooks: webhooks(
            r#"[[webhooks.endpoints]]
            name = "fasten"
            tenant = "acme"
            api_mode = "live"
            secrets = ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"]"#,
        ),
        ..Setup::default()
    })
    .await;
    let mut test = revoked("e1", "c");
    test["api_mode"] = "test".into();
    let mut large = revoked("e2", "c");
    large["padding"] = "x".repeat(300 * 1024).into();
    let payloads = [json!([1]), revoked("e3", "c"), json!({"id": "e4"}), test];
    let response = import(&api, vec![request(&payloads), request(&[large, revoked("e5", "c")])]).await.unwrap();
    assert_eq!((counts(&response), response.position), ([2, 0, 0, 4], 2));
    let left_out = response.refused_payloads.iter().map(|payload| (payload.index, payload.problem.as_str()));
    let expected = [
        (0, "it is no JSON object"),
        (2, "it has no type: no webhook of Fasten's"),
        (3, "its api_mode is not the one of its endpoint"),
        (4, "it is larger than webhooks.body_limit"),
    ];
    assert_eq!(left_out.collect::<Vec<_>>(), expected);
    let many = vec![json!(7); 300];
    let response = import(&api, vec![request(&many)]).await.unwrap();
    assert_eq!((response.refused, response.refused_payloads.len()), (300, 100));
}

#[tokio::test]
async fn a_dry_run_reports_what_an_import_does_and_appends_nothing() {
    let mut random = StdRng::seed_from_u64(7);
    let api = TestApi::open().await;
    let mut seen = [0; 4];
    let mut before = Vec::<Value>::new();
    for round in 0..20 {
        let mut made = || match random.random_range(0..10) {
            0 => json!({"id": "no type"}),
            1..4 if !before.is_empty() => before[random.random_range(0..before.len())].clone(),
            _ => {
                let id = format!("e{}", random.random_range(0..30 + round * 10));
                before.push(random_event(&mut random, &id));
                before[before.len() - 1].clone()
            }
        };
        let requests: Vec<_> =
            (0..4).map(|_| request(&std::iter::repeat_with(&mut made).take(8).collect::<Vec<_>>())).collect();
        let head = api.reader.head();
        let dry = requests.iter().cloned().map(|request| ImportEventsRequest { dry_run: true, ..request }).collect();
        let dry = import(&api, dry).await.unwrap();
        assert_eq!(api.reader.head(), head);
        let done = import(&api, requests).await.unwrap();
        assert_eq!((counts(&dry), &dry.refused_payloads), (counts(&done), &done.refused_payloads));
        for (seen, count) in seen.iter_mut().zip(counts(&done)) {
            *seen += count;
        }
    }
    assert!(seen.iter().all(|seen| *seen > 30), "{seen:?}");
}

#[tokio::test]
async fn an_import_names_an_endpoint_of_its_tenant() {
    let api = with_three_endpoints().await;
    let to = |tenant: &str, endpoint: &str| {
        let (tenant, endpoint) = (tenant.to_owned(), endpoint.to_owned());
        vec![ImportEventsRequest { tenant, endpoint, ..request(&[revoked("e1", "c")]) }]
    };
    for (tenant, endpoint) in [("acme", ""), ("acme", "three"), ("acme", "four")] {
        let answer = import(&api, to(tenant, endpoint)).await;
        assert_eq!(refused(answer), (Code::InvalidArgument, "INVALID_FIELD".into(), false), "{tenant} {endpoint}");
    }
    assert_eq!(refused(import(&api, to("", "one")).await).1, "TENANT_REQUIRED");
    for (tenant, endpoint) in [("acme", "two"), ("other", "")] {
        assert_eq!(import(&api, to(tenant, endpoint)).await.unwrap().imported, 1, "{tenant}");
    }
    assert_eq!(event(&api, 1).await.endpoint, "two");
}

#[tokio::test]
async fn without_its_scope_a_caller_writes_nothing() {
    let principal = Principal::new([Arc::from("acme")], &[Scope::EventsRaw]);
    let api = TestApi::with(Setup { principal, ..Setup::default() }).await;
    let answer = import(&api, vec![request(&[revoked("e1", "c")])]).await;
    assert_eq!(refused(answer), (Code::PermissionDenied, "PERMISSION_DENIED".into(), false));
    let answer = api.admin().readmit_events(ReadmitEventsRequest { positions: vec![1], ..Default::default() }).await;
    assert_eq!(refused(answer), (Code::PermissionDenied, "PERMISSION_DENIED".into(), false));
    assert_eq!(api.reader.head().position, 0);
}

#[tokio::test]
async fn only_a_mended_mismatched_event_is_readmitted_and_only_once() {
    use cleat::event::ModeVerdict::{Live, Mismatched};
    let api = TestApi::open().await;
    // The endpoint of event 1 takes either mode by now.
    api.append_as("acme", Mismatched, &connected("e1", "c", "patient", "authorized")).await;
    api.append_as("acme", Live, &revoked("e2", "d")).await;
    api.append_as("acme", Mismatched, &json!({"id": "e3", "api_mode": "other"})).await;
    api.append_as("other", Mismatched, &revoked("e4", "c")).await;
    let readmit = async || {
        let request = ReadmitEventsRequest { positions: vec![1, 2, 3, 4, 9, 1], ..Default::default() };
        let events = api.admin().readmit_events(request).await.unwrap().into_inner().events;
        let events = events.into_iter();
        let outcomes = events.map(|event| (event.position, event.applied_position, event.duplicate, event.problem));
        outcomes.collect::<Vec<_>>()
    };
    let not = |position, problem: &str| (position, 0, false, problem.to_owned());
    let mut expected = vec![
        (1, 5, false, String::new()),
        not(2, "it is of a mode already: nothing is to be mended"),
        not(3, "neither it nor its endpoint names a known api_mode: fix the endpoint's mode first"),
        not(4, "there is no such event"),
        not(9, "there is no such event"),
        (1, 5, true, String::new()),
    ];
    assert_eq!(readmit().await, expected);
    expected[0].2 = true;
    assert_eq!(readmit().await, expected);

    let applied = event(&api, 5).await;
    assert_eq!((applied.provenance(), applied.event_key.as_str()), (Provenance::Local, "id:e1"));
    assert_eq!(applied.body, event(&api, 1).await.body);
    let connections = every_connection(&api, ConnectionFilter::default(), 10).await;
    assert_eq!((connections[0].status(), connections[0].version), (ConnectionStatus::Authorized, 1));
    assert!(api.append(&connected("e1", "c", "patient", "authorized")).await.is_duplicate(), "Fasten's retry is one");
    let request = ReadmitEventsRequest { positions: vec![1; 1001], ..Default::default() };
    assert_eq!(refused(api.admin().readmit_events(request).await).1, "INVALID_FIELD");
}
