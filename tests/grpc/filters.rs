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
fn connection_matches(filter: &ConnectionFilter, it: &Connection) -> bool {
    let awaits = |longer: &Duration| {
        it.status() == ConnectionStatus::Authorized
            && !later(it.status_recorded_at, before_now(longer.seconds))
            && it.last_export_recorded_at.is_none_or(|ended| later(it.status_recorded_at, ended))
    };
    (filter.external_ids.is_empty() || filter.external_ids.contains(&it.external_id))
        && (filter.statuses.is_empty() || filter.statuses.contains(&it.status))
        && (filter.platform_types.is_empty() || filter.platform_types.contains(&it.platform_type))
        && (filter.request_ids.is_empty() || filter.request_ids.contains(&it.request_id))
        && (filter.external_states.is_empty() || filter.external_states.contains(&it.external_state))
        && filter.needs_reconnect.is_none_or(|wanted| wanted == it.needs_reconnect)
        && filter.order_ambiguous.is_none_or(|wanted| wanted == it.order_ambiguous)
        && filter
            .consent_expires_before
            .is_none_or(|before| it.consent_expires_at.is_some_and(|at| later(Some(before), at)))
        && filter.changed_after.is_none_or(|after| later(it.last_recorded_at, after))
        && filter.awaiting_export_for.as_ref().is_none_or(awaits)
}

fn export_matches(filter: &ExportFilter, it: &Export) -> bool {
    let soon = |within: &Duration| {
        it.status() == ExportStatus::Ready
            && it.deadline.is_some_and(|at| (0..=within.seconds).contains(&(at.seconds - before_now(0).seconds)))
    };
    (filter.org_connection_ids.is_empty() || filter.org_connection_ids.contains(&it.org_connection_id))
        && (filter.statuses.is_empty() || filter.statuses.contains(&it.status))
        && (filter.external_ids.is_empty() || filter.external_ids.contains(&it.external_id))
        && filter.changed_after.is_none_or(|after| later(it.last_recorded_at, after))
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
        let expected: Vec<_> = all.iter().filter(|it| connection_matches(&filter, it)).cloned().collect();
        assert_eq!(connections(&api, &filter).await, expected, "{filter:?}");
        some += usize::from(!expected.is_empty() && expected.len() < all.len());

        let filter = export_filter(&mut random);
        let expected: Vec<_> = all_exports.iter().filter(|it| export_matches(&filter, it)).cloned().collect();
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
        let count = |matches: &dyn Fn(&Connection) -> bool| rows.iter().filter(|it| matches(it)).count() as u64;
        assert_eq!(summary.total, rows.len() as u64);
        assert_eq!(summary.needs_reconnect, count(&|it| it.needs_reconnect));
        assert_eq!(summary.order_ambiguous, count(&|it| it.order_ambiguous));
        for status in 1..6 {
            let told = summary.statuses.iter().find(|told| told.status == status).map_or(0, |told| told.count);
            assert_eq!(told, count(&|it| it.status == status));
        }
        for platform in PLATFORMS.into_iter().chain([""]) {
            let told = summary.platforms.iter().find(|told| told.platform_type == platform);
            assert_eq!(told.map_or(0, |told| told.count), count(&|it| it.platform_type == platform));
        }
        assert!(summary.platforms.is_sorted_by_key(|told| std::cmp::Reverse(told.count)));
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
    let ids: Vec<_> = answer.connections.iter().map(|it| it.org_connection_id.as_str()).collect();
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
                let ids: Vec<_> = all.iter().map(|it| it.org_connection_id.as_str()).collect();
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
