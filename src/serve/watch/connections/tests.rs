//! Tests of feeds: which watches share one, which entries it keeps, and when it drops them. The tests of the API cover
//! the effects on clients.

mod rejoined;

use std::sync::Arc;

use tokio::sync::watch;

use super::feeds::ChangeFeeds;
use super::query::Query;
use super::source::SharedChanges;
use super::stream::WatchRequest;
use crate::event::{Contents, Cursor, Delivery, Event, EventKey, ModeVerdict, Position, Provenance, Timestamp};
use crate::fold::{Fold, Views};
use crate::proto::{ConnectionFilter, WatchConnectionsRequest};
use crate::serve::principal::Principal;
use crate::serve::watch::shared::feed::NextEntry;
use crate::serve::watch::shared::{Feed, FeedEntry};

/// Returns a query for the connections with this external id. Empty means all connections.
fn query(external_id: &str) -> Arc<Query> {
    let external_ids = if external_id.is_empty() { Vec::new() } else { vec![external_id.to_owned()] };
    let filter = Some(ConnectionFilter { external_ids, ..ConnectionFilter::default() });
    let request = WatchConnectionsRequest { filter, ..WatchConnectionsRequest::default() };
    watch_request(request).query
}

fn watch_request(request: WatchConnectionsRequest) -> WatchRequest {
    let principal = Principal::loopback([Arc::from("acme")]);
    let Ok(watch_request) = WatchRequest::read(principal, request) else { panic!("the request is valid") };
    watch_request
}

/// Returns views after `events` events of two patients in turn: "0", "1", "0"...
fn views(ring_len: usize, events: Position) -> Arc<Views> {
    let mut fold = Fold::new(ring_len);
    for position in 1..=events {
        let body = format!(
            r#"{{"api_mode":"live","type":"patient.connection_success","id":"e{position}","data":
            {{"org_connection_id":"c{position}","connection_status":"authorized","external_id":"{}"}}}}"#,
            (position - 1) % 2
        );
        fold.advance(&event(position, body)).unwrap();
    }
    fold.publish()
}

fn event(position: Position, body: String) -> Event {
    let delivery = Delivery {
        tenant: "acme".into(),
        endpoint: "fasten".into(),
        provenance: Provenance::Webhook,
        mode: ModeVerdict::Live,
        key: Some(EventKey::of(Some("e"), "")),
        webhook_id: String::new(),
        webhook_timestamp: String::new(),
        webhook_signature: String::new(),
        secret_label: String::new(),
        nonce: [7; 16],
        body: body.into(),
    };
    let recorded_at = Timestamp::from_micros(1_790_000_000_000_000);
    Event { position, recorded_at, delivery, chain: [1; 32], conflict_of: None, contents: Contents::Whole }
}

fn next<T>(feed: &Feed<T>, after: Position) -> Result<Option<Position>, &'static str> {
    match feed.next(after) {
        NextEntry::Found(entry) => Ok(Some(entry.at.position)),
        NextEntry::Nothing => Ok(None),
        NextEntry::Missed => Err("missed"),
    }
}

/// Advances the feeds to the position of some later views.
async fn follow(feeds: &ChangeFeeds, feed: &Feed<SharedChanges>, views: Arc<Views>, newest: Position) {
    let (_views, later) = watch::channel(views);
    let mut newest_of_feed = feed.subscribe();
    tokio::select! {
        never = feeds.follow(later) => match never {},
        reached = newest_of_feed.wait_for(|position| *position == newest) => assert_eq!(*reached.unwrap(), newest),
    }
}

#[tokio::test]
async fn equal_queries_share_a_feed_and_other_queries_have_their_own() {
    let feeds = ChangeFeeds::of_views(&views(100, 0));
    let one = feeds.open(&query("0"));
    let alike = feeds.open(&query("0"));
    let another = feeds.open(&query("1"));
    assert!(Arc::ptr_eq(&one, &alike) && !Arc::ptr_eq(&one, &another));
    follow(&feeds, &another, views(100, 6), 6).await;
    assert_eq!((next(&one, 0), next(&one, 1), next(&one, 5)), (Ok(Some(1)), Ok(Some(3)), Ok(None)));
    assert_eq!((next(&another, 0), next(&another, 4)), (Ok(Some(2)), Ok(Some(6))));

    // A new feed has no earlier entries. Once all its watches have gone, a feed is gone, too.
    let all = feeds.open(&query(""));
    assert_eq!((next(&all, 5), next(&all, 6)), (Err("missed"), Ok(None)));
    drop((one, alike));
    assert_eq!(next(&feeds.open(&query("0")), 5), Err("missed"));
}

#[tokio::test]
async fn a_feed_drops_what_the_ring_has_dropped_and_says_so() {
    let feeds = ChangeFeeds::of_views(&views(100, 0));
    let all = feeds.open(&query(""));
    follow(&feeds, &all, views(100, 6), 6).await;
    assert_eq!(next(&all, 0), Ok(Some(1)));
    // The ring has the last four.
    follow(&feeds, &all, views(4, 8), 8).await;
    assert_eq!((next(&all, 3), next(&all, 4)), (Err("missed"), Ok(Some(5))));
}

#[test]
fn watch_with_part_of_a_batch_reads_the_rest_itself() {
    let feed = Feed::after(2);
    feed.append([FeedEntry { first: 4, at: Cursor { position: 6, chain: [0; 8] }, content: () }]);
    assert_eq!((next(&feed, 2), next(&feed, 3)), (Ok(Some(6)), Ok(Some(6))));
    assert_eq!((next(&feed, 4), next(&feed, 5), next(&feed, 6)), (Err("missed"), Err("missed"), Ok(None)));
}

#[test]
fn a_feed_that_missed_changes_says_so() {
    let feed = Feed::after(2);
    assert_eq!((next(&feed, 1), next(&feed, 2)), (Err("missed"), Ok(None)));
    let stretch = views(100, 4).changes_after(2, 10).unwrap();
    feed.append(stretch.changes.iter().map(SharedChanges::new));
    assert_eq!((next(&feed, 2), *feed.subscribe().borrow()), (Ok(Some(3)), 4));
    feed.mark_missed(9);
    assert_eq!((next(&feed, 4), next(&feed, 9), *feed.subscribe().borrow()), (Err("missed"), Ok(None), 9));
}
