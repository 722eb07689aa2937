//! Tests of a connection's state that the table of rules cannot hold: times, indexes, realms, changes of other
//! entities. Knows only the fold.

use serde_json::json;

use super::*;
use crate::event::Attempt;
use crate::fold::entities::Change;

#[test]
fn the_time_of_a_status_is_that_of_the_event_that_brought_it() {
    let story = Story::new().given(&attempt("authorized")).given(&revocation());
    let since = story.connection("c").status_recorded_at;
    assert_eq!(since, Some(story.now()));
    assert_eq!(story.given(&revocation()).given(&ready()).connection("c").status_recorded_at, since);
}

#[test]
fn every_return_from_revoked_to_authorized_is_counted() {
    let mut story = Story::new().given(&attempt("authorized")).given(&attempt("authorized"));
    assert_eq!(story.connection("c").reconnect_count, 0);
    for count in 1..=3 {
        story = story.given(&revocation()).given(&ready()).given(&attempt("authorized"));
        let connection = story.connection("c");
        assert_eq!((connection.reconnect_count, connection.last_reconnected_at), (count, Some(story.now())));
    }
}

#[test]
fn new_attempt_replaces_the_last_wholly_and_absent_facts_stay() {
    let full = json!({
        "org_connection_id": "c", "connection_status": "authorized", "external_id": "x", "platform_type": "epic",
        "endpoint_id": "e", "brand_id": "b", "portal_id": "p", "tefca_directory_id": "d",
        "request_id": "r", "external_state": "s", "scope": "sc", "consent_expires_at": "2026-08-04T00:00:00Z",
    });
    let story = Story::new().given(&body("patient.connection_success", &full));
    let first = story.connection("c");
    let reported = &first.attempt;
    assert_eq!(reported.consent_expires_at, Some(Timestamp::from_micros(1_785_801_600_000_000)));
    assert!(reported.request_id.is_some() && reported.external_state.is_some() && reported.scope.is_some());

    let revoked = story.given(&revocation());
    assert!(revoked.connection("c").attempt == first.attempt, "a revocation is no attempt");

    let second = revoked.given(&attempt("authorized")).connection("c");
    assert!(second.facts == first.facts && *second.attempt == Attempt::default());
    assert_eq!((&second.facts.external_id, &second.facts.tefca_directory_id), (&text("x"), &text("d")));
}

#[test]
fn the_index_of_external_ids_follows_a_change_of_it() {
    let named = |external_id: &str| {
        body("patient.connection_success", &json!({"org_connection_id": "c", "external_id": external_id}))
    };
    let story = Story::new().given(&named("one")).given(&named("")).given(&named("two"));
    let of = |external_id| story.views.connections_of(&Story::live(), external_id, None);
    let ids = |external_id| of(external_id).map(|(id, _)| id.text().to_string()).collect::<Vec<_>>();
    assert_eq!((ids("one"), ids("two"), ids("tw")), (vec![], vec!["c".to_owned()], vec![]));
}

#[test]
fn the_version_counts_events_that_name_it_and_no_others() {
    let unknown = body("patient.something_new", &json!({"org_connection_id": "c", "external_id": "x"}));
    let nameless = body("patient.ehi_export_success", &json!({"task_id": "t"}));
    let story = Story::new().given(&unknown).given(&ready()).given(&nameless).given(&attempt("authorized"));
    let connection = story.connection("c");
    let lineage = connection.lineage;
    assert_eq!((lineage.version, lineage.first.position, lineage.last.position), (3, 1, 4));
    assert_eq!(connection.facts.external_id, None, "what a field means in an unknown type is unknown");
}

#[test]
fn realms_never_mix_and_realmless_events_only_move_the_position() {
    let mut story = Story::new();
    let body = serde_json::to_vec(&attempt("authorized")).unwrap();
    story.append("acme", ModeVerdict::Mismatched, &body);
    story.append("acme", ModeVerdict::Unknown, &body);
    assert_eq!((story.views.position(), story.counts()), (2, (0, 0)));
    for (tenant, mode) in [("acme", ModeVerdict::Live), ("acme", ModeVerdict::Test), ("other", ModeVerdict::Live)] {
        story.append(tenant, mode, &body);
    }
    assert_eq!(story.counts(), (3, 0));
    assert_eq!(story.connection("c").lineage.version, 1);
}

#[test]
fn an_event_changes_at_most_one_connection_and_one_export() {
    let other = |task: &str| body("patient.ehi_export_success", &json!({"org_connection_id": "c", "task_id": task}));
    let story = Story::new().given(&other("t1")).given(&other("t2")).given(&attempt("authorized")).given(&ready());
    let stretch = story.views.changes_after(0, 10).unwrap();
    let kinds = stretch.changes.iter().map(|changes| match &changes.changes[..] {
        [Change::Connection { .. }] => "connection",
        [Change::Connection { .. }, Change::Export { .. }] => "both",
        other => panic!("{other:?}"),
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["both", "both", "connection", "both"]);
}
