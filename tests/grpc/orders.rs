//! Lists in another order than that of ids, compared with a sort of all rows.

use cleat::proto::{Connection, Export, ListConnectionsRequest, ListExportsRequest};
use prost_types::Timestamp;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tonic::Code;

use crate::generated::*;
use crate::support::*;

/// Sorts rows. Those without the field come last in both directions; equal ones stay in the order of their ids.
fn sorted<T: Clone>(rows: &[T], descending: bool, rank: impl Fn(&T) -> Option<Timestamp>) -> Vec<T> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| {
        let rank = rank(row).map(|at| (at.seconds, at.nanos));
        (rank.is_none(), rank.map(|(seconds, nanos)| if descending { (-seconds, -nanos) } else { (seconds, nanos) }))
    });
    rows
}

#[tokio::test]
async fn an_order_holds_over_all_rows_for_any_filter_and_page_size() {
    let mut random = StdRng::seed_from_u64(6);
    let api = populated(&mut random).await;
    // The end of this connection's consent is unknown.
    api.append(&revoked("last", "c-unheard-of")).await;
    for (number, descending) in [false, true].into_iter().cycle().take(60).enumerate() {
        let direction = if descending { " desc" } else { "" };
        let filter = connection_filter(&mut random);
        let rows = connections(&api, &filter).await;
        for (field, rank) in [
            ("last_recorded_at", (|row: &Connection| row.last_recorded_at) as fn(&Connection) -> Option<Timestamp>),
            ("consent_expires_at", |row| row.consent_expires_at),
        ] {
            let filter = Some(filter.clone());
            let page_size = 1 + i32::try_from(number % 9).unwrap();
            let order_by = format!("{field}{direction}");
            let request = ListConnectionsRequest { filter, page_size, order_by, ..Default::default() };
            assert_eq!(every_page(&api, request).await, sorted(&rows, descending, rank), "{field}{direction}");
        }
        let filter = export_filter(&mut random);
        let rows = exports(&api, &filter).await;
        let field = if filter.deadline_within.is_some() { "deadline" } else { "last_recorded_at" };
        let rank = |row: &Export| if field == "deadline" { row.deadline } else { row.last_recorded_at };
        let order_by = format!("{field}{direction}");
        let request = ListExportsRequest { filter: Some(filter), page_size: 7, order_by, ..Default::default() };
        assert_eq!(every_page_of_exports(&api, request).await, sorted(&rows, descending, rank), "{field}{direction}");
    }
}

#[tokio::test]
async fn an_order_that_is_unknown_or_cannot_be_had_is_refused() {
    let api = TestApi::open().await;
    for order_by in ["status", "deadline", "last_recorded_at down", "last_recorded_at, consent_expires_at", "desc"] {
        let request = ListConnectionsRequest { order_by: order_by.into(), ..Default::default() };
        let answer = api.connections().list_connections(request).await;
        assert_eq!(refused(answer), (Code::InvalidArgument, "INVALID_FIELD".into(), false), "{order_by}");
    }
    let request = ListExportsRequest { order_by: "deadline".into(), ..Default::default() };
    assert_eq!(refused(api.exports().list_exports(request).await).1, "INVALID_FIELD");
    // A page token belongs to its order.
    for id in ["c1", "c2"] {
        api.append(&connected(id, id, "x", "authorized")).await;
    }
    let mut request = ListConnectionsRequest { page_size: 1, consistency: Some(fully()), ..Default::default() };
    request.page_token =
        api.connections().list_connections(request.clone()).await.unwrap().into_inner().next_page_token;
    request.order_by = "last_recorded_at".into();
    assert_eq!(refused(api.connections().list_connections(request).await).1, "INVALID_PAGE_TOKEN");
}
