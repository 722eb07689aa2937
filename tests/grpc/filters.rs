//! Every filter, alone and with others, compared with a check of every row; and the answers that are not pages.

use cleat::proto::{
    BatchGetConnectionsRequest, Connection, ConnectionFilter, ConnectionStatus, Export, ExportFilter, ExportStatus,
    GetExportLinksRequest, SummarizeConnectionsRequest,
};
use prost_types::{Duration, Timestamp};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tonic::Code;

use crate::generated::*;
use crate::support::*;

fn later(time: Option<Timestamp>, other: Timestamp) -> bool {
    time.is_some_and(|time| (time.seconds, time.nanos) > (other.seconds, other.nanos))
}

/// Whether a connection matches a filter, as the protos define it.
fn connection_matches(filter: &ConnectionFilter, connection: &Connection) -> bool {
    let awaits = |longer: &Duration| {
        connection.status() == ConnectionStatus::Authorized
            && !later(connection.status_recorded_at, before_now(longer.seconds))
            && connection.last_export_recorded_at.is_none_or(|ended| later(connection.status_recorded_at, ended))
    };
    (filter.external_ids.is_empty() || filter.external_ids.contains(&connection.external_id))
        && (filter.statuses.is_empty() || filter.statuses.contains(&connection.status))
        && (filter.platform_types.is_empty() || filter.platform_types.contains(&connection.platform_type))
        && (filter.request_ids.is_empty() || filter.request_ids.contains(&connection.request_id))
        && (filter.external_states.is_empty() || filter.external_states.contains(&connection.external_state))
        && filter.needs_reconnect.is_none_or(|wanted| wanted == connection.needs_reconnect)
        && filter.order_ambiguous.is_none_or(|wanted| wanted == connection.order_ambiguous)
        && filter
            .consent_expires_before
            .is_none_or(|before| connection.consent_expires_at.is_some_and(|at| later(Some(before), at)))
        && filter.changed_after.is_none_or(|after| later(connection.last_recorded_at, after))
        && filter.awaiting_export_for.as_ref().is_none_or(awaits)
}

fn export_matches(filter: &ExportFilter, export: &Export) -> bool {
    let soon = |within: &Duration| {
        export.status() == ExportStatus::Ready
            && export.deadline.is_some_and(|at| (0..=within.seconds).contains(&(at.seconds - before_now(0).seconds)))
    };
    (filter.org_connection_ids.is_empty() || filter.org_connection_ids.contains(&export.org_connection_id))
        && (filter.statuses.is_empty() || filter.statuses.contains(&export.status))
        && (filter.external_ids.is_empty() || filter.external_ids.contains(&export.external_id))
        && filter.changed_after.is_none_or(|after| later(export.last_recorded_at, after))
        && filter.deadline_within.as_ref().is_none_or(soon)
}

#[tokio::test]
async fn every_filter_finds_what_a_look_at_every_row_finds() {
    let mut random = StdRng::seed_from_u64(4);
    let api = populated(&mut random).await;
    let all = connections(&api, &ConnectionFilter::default()).await;
    let all_exports = exports(&api, &ExportFilter::default()).await;
    let (mut some, mut some_exports) = (0, 0);
    for _ in 0..300 {
        let filter = connection_filter(&mut random);
        let expected: Vec<_> = all.iter().filter(|row| connection_matches(&filter, row)).cloned().collect();
        assert_eq!(connections(&api, &filter).await, expected, "{filter:?}");
        some += usize::from(!expected.is_empty() && expected.len() < all.len());

        let filter = export_filter(&mut random);
        let expected: Vec<_> = all_exports.iter().filter(|row| export_matches(&filter, row)).cloned().collect();
        assert_eq!(exports(&api, &filter).await, expected, "{filter:?}");
        some_exports += usize::from(!expected.is_empty() && expected.len() < all_exports.len());
    }
    assert!(some > 80 && some_exports > 80, "{some} and {some_exports} filters found some and left some out");
}

#[tokio::test]
async fn a_summary_counts_what_a_list_shows() {
    let mut random = StdRng::seed_from_u64(5);
    let api = populated(&mut random).await;
    for _ in 0..30 {
        let filter = connection_filter(&mut random);
        let rows = connections(&api, &filter).await;
        let request = SummarizeConnectionsRequest { filter: Some(filter), ..Default::default() };
        let summary = api.connections().summarize_connections(request).await.unwrap().into_inner();
        let count = |matches: &dyn Fn(&Connection) -> bool| rows.iter().filter(|row| matches(row)).count() as u64;
        assert_eq!(summary.total, rows.len() as u64);
        assert_eq!(summary.needs_reconnect, count(&|row| row.needs_reconnect));
        assert_eq!(summary.order_ambiguous, count(&|row| row.order_ambiguous));
        for status in 1..6 {
            let counted = summary.statuses.iter().find(|counted| counted.status == status);
            assert_eq!(counted.map_or(0, |counted| counted.count), count(&|row| row.status == status));
        }
        for platform in PLATFORMS.into_iter().chain([""]) {
            let counted = summary.platforms.iter().find(|counted| counted.platform_type == platform);
            assert_eq!(counted.map_or(0, |counted| counted.count), count(&|row| row.platform_type == platform));
        }
        assert!(summary.platforms.is_sorted_by_key(|counted| std::cmp::Reverse(counted.count)));
    }
}

#[tokio::test]
async fn batch_is_whole_in_order_and_of_one_position_or_it_is_refused() {
    let api = TestApi::open().await;
    for id in ["c1", "c2"] {
        api.append(&connected(id, id, "x", "authorized")).await;
    }
    let request = |ids: &[&str]| BatchGetConnectionsRequest {
        org_connection_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        consistency: Some(fully()),
        ..Default::default()
    };
    let answer = api.connections().batch_get_connections(request(&["c2", "c1", "c2"])).await.unwrap().into_inner();
    let ids: Vec<_> = answer.connections.iter().map(|connection| connection.org_connection_id.as_str()).collect();
    assert_eq!((ids, answer.position), (vec!["c2", "c1", "c2"], 2));

    let status = api.connections().batch_get_connections(request(&["c1", "c9"])).await.unwrap_err();
    assert!(status.message().contains("index 1") && !status.message().contains("c9"), "{}", status.message());
    assert_eq!(refused(Err::<(), _>(status)), (Code::NotFound, "CONNECTION_NOT_FOUND".into(), false));
    let many = vec!["c1"; 101];
    let answer = api.connections().batch_get_connections(request(&many)).await;
    assert_eq!(refused(answer), (Code::InvalidArgument, "INVALID_FIELD".into(), false));
}

#[tokio::test]
async fn links_come_with_their_deadline_and_say_when_it_is_past() {
    let api = TestApi::open().await;
    api.append(&exported("e1", "t", "c")).await;
    api.append(&failed("e2", "u", "c", "other")).await;
    let request =
        |task: &str| GetExportLinksRequest { task_id: task.into(), consistency: Some(fully()), ..Default::default() };
    let links = api.exports().get_export_links(request("t")).await.unwrap().into_inner();
    assert_eq!((links.links[0].url.as_str(), links.expired, links.position), ("https://x.test/1", false, 2));
    assert!(later(links.deadline, before_now(0)));
    let none = api.exports().get_export_links(request("u")).await.unwrap().into_inner();
    assert_eq!((none.links, none.deadline, none.expired), (vec![], None, false));
    let answer = api.exports().get_export_links(request("v")).await;
    assert_eq!(refused(answer), (Code::NotFound, "EXPORT_NOT_FOUND".into(), false));
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_webhooks_pour_in() {
    let api = TestApi::open().await;
    for number in 0..100 {
        api.append(&connected(&format!("a{number}"), &format!("c{number:02}"), "x", "authorized")).await;
    }
    api.applied().await;
    let pouring = async {
        for number in 0.. {
            let connection = format!("c{:02}-{number}", number * 37 % 100);
            api.append(&connected(&format!("b{number}"), &connection, "x", "authorized")).await;
            api.append(&revoked(&format!("d{number}"), &format!("c{:02}", number * 41 % 100))).await;
        }
    };
    let looking = async {
        let begun = api.reader.head().position;
        for filter in
            [ConnectionFilter::default(), ConnectionFilter { external_ids: vec!["x".into()], ..Default::default() }]
        {
            for _ in 0..5 {
                let all = connections(&api, &filter).await;
                let ids: Vec<_> = all.iter().map(|connection| connection.org_connection_id.as_str()).collect();
                assert!(ids.is_sorted_by(|one, next| one < next), "in order, and none twice");
                assert_eq!(ids.iter().filter(|id| !id.contains('-')).count(), 100, "none that was there is left out");
            }
        }
        assert!(api.reader.head().position > begun + 100, "webhooks did pour in");
    };
    tokio::select! {
        () = pouring => unreachable!("it goes on for ever"),
        () = looking => {}
    }
}
