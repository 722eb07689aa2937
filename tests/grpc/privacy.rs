//! Access: tenants and modes never mix, and without a scope a field is left out.

use std::sync::Arc;

use cleat::event::ModeVerdict;
use cleat::proto::get_event_request::Event as Asked;
use cleat::proto::watch_connections_response::Message;
use cleat::proto::watch_start::Position as Start;
use cleat::proto::{
    ApiMode, GetConnectionRequest, GetEventRequest, GetExportLinksRequest, GetExportRequest,
    ListConnectionEventsRequest, ListConnectionsRequest, ListExportsRequest, ReadEventsRequest,
    WatchConnectionsRequest, WatchStart,
};
use cleat::serve::{Principal, Scope};
use tonic::Code;

use crate::follower::{Follower, snapshot};
use crate::support::*;

async fn with(principal: Principal) -> TestApi {
    TestApi::with(Setup { principal, ..Setup::default() }).await
}

#[tokio::test]
async fn two_tenants_and_two_modes_never_mix() {
    let api = with(Principal::loopback([Arc::from("acme"), Arc::from("other")])).await;
    let body = |id: &str, patient: &str| connected(id, "c", patient, "authorized");
    api.append_as("acme", ModeVerdict::Live, &body("e1", "acme-live")).await;
    api.append_as("acme", ModeVerdict::Test, &body("e2", "acme-test")).await;
    let last = api.append_as("other", ModeVerdict::Live, &body("e1", "other-live")).await;

    for (tenant, mode, patient) in [("acme", 0, "acme-live"), ("acme", 2, "acme-test"), ("other", 1, "other-live")] {
        let tenant = tenant.to_owned();
        let consistency = Some(fully());
        let request = ListConnectionsRequest { tenant, api_mode: mode, consistency, ..Default::default() };
        let page = api.connections().list_connections(request).await.unwrap().into_inner();
        let patients: Vec<_> = page.connections.iter().map(|connection| connection.external_id.as_str()).collect();
        assert_eq!(patients, [patient]);
    }
    let request = GetConnectionRequest {
        tenant: "other".into(),
        api_mode: ApiMode::Test.into(),
        org_connection_id: "c".into(),
        ..Default::default()
    };
    assert_eq!(refused(api.connections().get_connection(request).await).0, Code::NotFound);

    for (tenant, position) in [("other", 1), ("acme", last.position)] {
        let event = Some(Asked::Position(position));
        let answer = api.events().get_event(GetEventRequest { tenant: tenant.into(), event }).await;
        assert_eq!(refused(answer), (Code::NotFound, "EVENT_NOT_FOUND".into(), false));
    }
    let event = Some(Asked::EventKey("id:e1".into()));
    let request = GetEventRequest { tenant: "other".into(), event };
    assert_eq!(api.events().get_event(request).await.unwrap().into_inner().event.unwrap().position, last.position);
}

#[tokio::test]
async fn a_watch_sees_its_own_realm_only() {
    let api = with(Principal::loopback([Arc::from("acme"), Arc::from("other")])).await;
    let mut follower = Follower::start(&api, WatchConnectionsRequest { tenant: "other".into(), ..snapshot() }).await;
    let body = connected("e1", "c", "x", "authorized");
    api.append_as("acme", ModeVerdict::Live, &body).await;
    api.append_as("other", ModeVerdict::Test, &body).await;
    api.append_as("other", ModeVerdict::Live, &connected("e2", "d", "x", "authorized")).await;
    follower.until(3).await;
    assert_eq!(follower.connections.keys().collect::<Vec<_>>(), ["d"]);
}

#[tokio::test]
async fn without_its_scope_a_caller_sees_neither_links_nor_bodies() {
    for (scopes, links, bodies) in
        [(&[][..], false, false), (&[Scope::ExportsLinks], true, false), (&[Scope::EventsRaw], true, true)]
    {
        let api = with(Principal::new([Arc::from("acme")], scopes)).await;
        let mut follower = Follower::start(&api, snapshot()).await;
        api.append(&exported("e1", "t", "c")).await;
        follower.until(1).await;
        assert_eq!(!follower.exports["t"].links.is_empty(), links, "live");
        let mut later = Follower::start(&api, snapshot()).await;
        later.until(1).await;
        assert_eq!(!later.exports["t"].links.is_empty(), links, "in a snapshot");

        let request = GetExportRequest { task_id: "t".into(), ..Default::default() };
        let export = api.exports().get_export(request).await.unwrap().into_inner().export.unwrap();
        assert_eq!(!export.links.is_empty(), links);
        let page = api.exports().list_exports(ListExportsRequest::default()).await.unwrap().into_inner();
        assert_eq!(!page.exports[0].links.is_empty(), links);
        let request = ListConnectionEventsRequest { org_connection_id: "c".into(), ..Default::default() };
        let history = api.connections().list_connection_events(request).await.unwrap().into_inner().events;
        assert_eq!(!history[0].exports[0].links.is_empty(), links, "in a history");
        let request = GetExportLinksRequest { task_id: "t".into(), ..Default::default() };
        match api.exports().get_export_links(request).await {
            Ok(answer) => assert!(links && answer.into_inner().links.len() == 1),
            Err(status) => {
                assert!(!links && status.message().contains("exports.links"), "it names the scope");
                assert_eq!(refused(Err::<(), _>(status)), (Code::PermissionDenied, "PERMISSION_DENIED".into(), false));
            }
        }
        let request = GetEventRequest { event: Some(Asked::Position(1)), ..Default::default() };
        let event = api.events().get_event(request).await.unwrap().into_inner().event.unwrap();
        assert_eq!(!event.body.is_empty(), bodies);
        let mut parts = api.events().read_events(ReadEventsRequest::default()).await.unwrap().into_inner();
        let part = parts.message().await.unwrap().unwrap();
        assert_eq!(!part.events[0].body.is_empty(), bodies, "in a stretch of the log");
        let start = Some(WatchStart { position: Some(Start::AfterPosition(0)) });
        let request = WatchConnectionsRequest { start, include_event: true, ..Default::default() };
        let mut watch = api.connections().watch_connections(request).await.unwrap().into_inner();
        let event = loop {
            if let Some(Message::ChangeBatch(batch)) = watch.message().await.unwrap().unwrap().message {
                break batch.into_inner().event.unwrap();
            }
        };
        assert_eq!(!event.body.is_empty(), bodies, "with a change");
        assert_eq!(event.r#type, "patient.ehi_export_success");
    }
}
