//! Tests of duplicates with other content, and of the parts of a delivery that stay in memory until its answer.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::event::ApiMode;
use crate::log::dedup::key::{Claim, Digest, Fingerprint};
use crate::log::files::secret::LogSecret;
use crate::log::write::OrderedDeliveries;

const FIRST: &[u8] = br#"{"id":"a","date":"1","type":"t","data":{"x":1,"y":2}}"#;
const AGAIN: &[u8] = br#"{"type":"t","id":"a","date":"2","data":{"y":2,"x":1}}"#;
const OTHER: &[u8] = br#"{"id":"a","date":"3","type":"t","data":{"x":1,"y":3}}"#;

#[test]
fn conflicting_duplicate_is_kept_once_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    let first = append(&log, "a", FIRST).unwrap();
    assert_eq!(append(&log, "a", AGAIN).unwrap(), Appended { outcome: AppendOutcome::Duplicate, ..first });
    let kept = append(&log, "a", OTHER).unwrap();
    assert_eq!((kept.position, kept.outcome, kept.reached.position), (1, AppendOutcome::Conflict, 2));
    close(log);
    let log = open(directory.path(), options()).unwrap();
    assert_eq!(append(&log, "a", OTHER).unwrap(), kept, "it is kept already");

    let events = read_all(&log.reader);
    assert_eq!(events.len(), 2);
    assert_eq!((events[1].conflict_of, events[1].applies_to()), (Some(1), None));
    assert_eq!((events[0].conflict_of, events[0].applies_to()), (None, Some(ApiMode::Live)));
    assert_eq!((&events[1].delivery.body[..], &events[1].delivery.key), (OTHER, &events[0].delivery.key));
}

#[test]
fn deliveries_that_come_at_once_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    let all = [FIRST, OTHER, AGAIN, OTHER].map(|body| delivery("a", body)).to_vec();
    let appended = append_all(&log, all).into_iter().map(Result::unwrap);
    let places: Vec<_> = appended.map(|appended| (appended.position, appended.outcome)).collect();
    let outcomes = [AppendOutcome::New, AppendOutcome::Conflict, AppendOutcome::Duplicate, AppendOutcome::Conflict];
    assert_eq!(places, outcomes.map(|outcome| (1, outcome)));
    assert_eq!(log.reader.head().position, 2);
}

#[test]
fn a_body_is_freed_before_its_event_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    let appender = &log.appender;
    let delivery = delivery("a", &[b'x'; 1000]);
    let body = delivery.body.clone();
    let mut append = pin!(appender.append(delivery, TimeEvidence::Signed));
    assert!(matches!(append.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    assert!(body.is_unique(), "nobody else holds the body");
}

#[test]
fn an_event_that_cannot_be_compared_ends_its_sequence() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    append(&log, "a", FIRST).unwrap();
    // Claims a key as a journal of an older format leaves it.
    let secret = LogSecret { generation: 1, key: options().fresh.secret };
    let digest = Digest::of_event(&secret, "default", &EventKey::of(Some("b"), ""));
    assert!(log.reader.index().recent_mut().claim(Claim { digest, fingerprint: Fingerprint::UNKNOWN }, 1).is_none());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let sequence = OrderedDeliveries::default();
        let import = |id| Delivery { provenance: Provenance::Import, ..delivery(id, OTHER) };
        let undecided = log.appender.enqueue_in(&sequence, import("b")).await.unwrap();
        log.reader.store().refuse_reads(1);
        assert!(matches!(undecided.durable().await, Err(AppendError::Unconfirmed(_))));
        let next = log.appender.enqueue_in(&sequence, import("c")).await.unwrap();
        assert!(matches!(next.durable().await, Err(AppendError::Unconfirmed(_))));
        let again = log.appender.enqueue_in(&OrderedDeliveries::default(), import("b")).await.unwrap();
        assert!(again.durable().await.unwrap().outcome == AppendOutcome::Conflict);
    });
    assert_eq!(log.reader.head().position, 2);
    close(log);
}
