//! Lists: filters, and pages that are exact while their state is retained.

use cleat::proto::{
    Connection, ConnectionFilter, ConnectionStatus, ExportFilter, ExportStatus, ListConnectionsRequest,
    ListExportsRequest,
};

use tokio::sync::watch;

use crate::support::*;

fn ids(connections: &[Connection]) -> Vec<&str> {
    connections.iter().map(|connection| connection.org_connection_id.as_str()).collect()
}

/// Returns an API with nine connections of three patients; the third of each patient is revoked. Each connection has
/// one export, and one export has no connection.
async fn populated() -> TestApi {
    let api = TestApi::open().await;
    for number in 0..9 {
        let connection = format!("c{number}");
        let patient = format!("x{}", number % 3);
        api.append(&connected(&format!("a{number}"), &connection, &patient, "authorized")).await;
        api.append(&exported(&format!("b{number}"), &format!("t{}", 8 - number), &connection)).await;
        if number >= 6 {
            api.append(&revoked(&format!("d{number}"), &connection)).await;
        }
    }
    api.append(&exported("e", "t9", "")).await;
    api
}

async fn list(api: &TestApi, filter: ConnectionFilter) -> Vec<Connection> {
    every_connection(api, filter, 2).await
}

async fn tasks(api: &TestApi, filter: ExportFilter) -> Vec<String> {
    every_export(api, filter, 2).await.into_iter().map(|export| export.task_id).collect()
}

#[tokio::test]
async fn connections_are_filtered_by_every_field_and_ordered_by_id() {
    let api = populated().await;
    let any = list(&api, ConnectionFilter::default()).await;
    assert_eq!(ids(&any), ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"]);

    let two = ConnectionFilter { external_ids: vec!["x2".into(), "x0".into(), "x9".into()], ..Default::default() };
    assert_eq!(ids(&list(&api, two.clone()).await), ["c0", "c2", "c3", "c5", "c6", "c8"]);
    let revoked = vec![ConnectionStatus::Revoked.into(), ConnectionStatus::Unknown.into()];
    assert_eq!(ids(&list(&api, ConnectionFilter { statuses: revoked.clone(), ..two }).await), ["c6", "c8"]);
    assert_eq!(
        ids(&list(&api, ConnectionFilter { statuses: revoked, ..Default::default() }).await),
        ["c6", "c7", "c8"]
    );

    let platforms = |name: &str| ConnectionFilter { platform_types: vec![name.into()], ..Default::default() };
    assert_eq!(list(&api, platforms("epic")).await.len(), 9);
    assert_eq!(list(&api, platforms("cerner")).await.len(), 0);
}

#[tokio::test]
async fn exports_are_filtered_by_every_field_and_ordered_by_task() {
    let api = populated().await;
    assert_eq!(tasks(&api, ExportFilter::default()).await.len(), 10);
    let of = vec!["c8".into(), "c1".into(), "c0".into()];
    assert_eq!(
        tasks(&api, ExportFilter { org_connection_ids: of.clone(), ..Default::default() }).await,
        ["t0", "t7", "t8"]
    );
    let patients = ExportFilter { external_ids: vec!["x0".into(), "x1".into()], ..Default::default() };
    assert_eq!(tasks(&api, patients.clone()).await, ["t1", "t2", "t4", "t5", "t7", "t8"]);
    assert_eq!(tasks(&api, ExportFilter { org_connection_ids: of, ..patients }).await, ["t7", "t8"]);
    let failed = ExportFilter { statuses: vec![ExportStatus::Failed.into()], ..Default::default() };
    assert_eq!(tasks(&api, failed).await, Vec::<String>::new());
}

#[tokio::test]
async fn later_pages_show_the_state_of_the_first_one() {
    let api = populated().await;
    let mut request = ListConnectionsRequest { page_size: 4, consistency: Some(fully()), ..Default::default() };
    let first = api.connections().list_connections(request.clone()).await.unwrap().into_inner();
    api.append(&connected("n1", "c40", "x0", "authorized")).await;
    api.append(&revoked("n2", "c5")).await;

    request.page_token = first.next_page_token.clone();
    let second = api.connections().list_connections(request.clone()).await.unwrap().into_inner();
    assert_eq!((ids(&second.connections), second.position), (vec!["c4", "c5", "c6", "c7"], first.position));
    assert_eq!(second.connections[1].status(), ConnectionStatus::Authorized);

    // More snapshots than are retained push the first one out: the list then goes on from the same id, in newer state.
    for round in 0..20 {
        api.append(&connected(&format!("r{round}"), "c9", "x9", "authorized")).await;
        let other = ListConnectionsRequest { page_size: 1, consistency: Some(fully()), ..Default::default() };
        api.connections().list_connections(other).await.unwrap();
    }
    let later = api.connections().list_connections(request).await.unwrap().into_inner();
    assert_eq!(ids(&later.connections), ["c4", "c40", "c5", "c6"]);
    assert!(later.position > first.position);
    assert_eq!(later.connections[2].status(), ConnectionStatus::Revoked);
}

#[tokio::test]
async fn filter_with_few_matches_costs_bounded_pages_and_loses_none() {
    let bodies = (0..10_050).map(|number| connected("", &format!("c{number:05}"), "x", "authorized"));
    let last = revoked("", "c10049");
    let (_publish, views) = watch::channel(views_of(bodies.chain([last]), 1));
    let api = TestApi::over(views).await;
    let filter = ConnectionFilter { statuses: vec![ConnectionStatus::Revoked.into()], ..Default::default() };
    let mut request = ListConnectionsRequest { filter: Some(filter), ..Default::default() };
    let first = api.connections().list_connections(request.clone()).await.unwrap().into_inner();
    assert_eq!((first.connections.len(), first.next_page_token.is_empty()), (0, false));
    request.page_token = first.next_page_token;
    let second = api.connections().list_connections(request).await.unwrap().into_inner();
    assert_eq!((ids(&second.connections), second.next_page_token.as_str()), (vec!["c10049"], ""));
}

#[tokio::test]
async fn a_page_stays_below_what_clients_take() {
    // 20 links of 10,000 bytes each.
    let bodies = (0..30).map(|number| {
        let mut body = exported("", &format!("t{number:02}"), "c");
        let links: Vec<_> = (0..20).map(|link| format!("{link}{}", "x".repeat(10_000))).collect();
        body["data"]["download_links"] = links.into();
        body
    });
    let (_publish, views) = watch::channel(views_of(bodies, 1));
    let api = TestApi::over(views).await;
    let page = api.exports().list_exports(ListExportsRequest::default()).await.unwrap().into_inner();
    assert_eq!((page.exports.len(), page.next_page_token.is_empty()), (6, false));
    assert_eq!(tasks(&api, ExportFilter::default()).await.len(), 30);
}
