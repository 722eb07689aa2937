//! Tests of bodies in other forms: flat, nested, odd, unreadable. Knows only the fold.

use serde_json::json;

use super::reference::held;
use super::*;
use crate::fold::entities::Status;

#[test]
fn a_flat_body_says_the_same_as_a_nested_one() {
    let nested = Story::new().given(&attempt("authorized"));
    let flat = json!({
        "api_mode": "live", "date": "2026-05-04T14:03:11Z", "id": "e", "event_type": "patient.connection_success",
        "org_connection_id": "c", "connection_status": "authorized",
    });
    assert!(held(&Story::new().given(&flat).views) == held(&nested.views));
}

#[test]
fn both_spellings_of_the_request_id_are_read() {
    for name in ["request_id", "request-id"] {
        let data = json!({"org_connection_id": "c", name: "r", "consent_expires_at": "soon"});
        let connection = Story::new().given(&body("patient.connection_success", &data)).connection("c");
        assert_eq!(connection.attempt.request_id, text("r"));
        assert_eq!(connection.attempt.consent_expires_at, None);
    }
}

#[test]
fn ids_that_are_empty_or_neither_strings_nor_digits_are_absent() {
    for id in [json!(""), json!(-7), json!(7.5), json!(true), json!(null), json!(["c"]), json!({"id": "c"})] {
        let data = json!({"org_connection_id": id, "task_id": id, "connection_status": "authorized"});
        for kind in ["patient.connection_success", "patient.ehi_export_success", "patient.something_new"] {
            let story = Story::new().given(&body(kind, &data));
            assert_eq!((story.views.position(), story.counts()), (1, (0, 0)), "{kind} {id}");
        }
    }
}

#[test]
fn a_date_beyond_the_range_of_the_api_is_absent() {
    for date in ["-009999-01-01T00:00:00Z", "0000-12-31T23:59:59.5Z", "2026-08-04", ""] {
        let data = json!({"org_connection_id": "c", "consent_expires_at": date});
        let connection = Story::new().given(&body("patient.connection_success", &data)).connection("c");
        assert_eq!(connection.attempt.consent_expires_at, None, "{date}");
    }
}

#[test]
fn other_events_and_unreadable_bodies_only_move_the_position() {
    let data = json!({"org_connection_id": "c", "task_id": "t", "connection_status": "authorized"});
    let mut story = Story::new();
    for kind in ["webhook.test", "patient.request_health_system", "patient.request_support"] {
        story = story.given(&body(kind, &data));
    }
    for unreadable in [&b""[..], b"\xff", b"[]", b"null", b"{\"data\":", b"{\"id\":\"a\"} x"] {
        story.append("acme", ModeVerdict::Live, unreadable);
    }
    assert_eq!((story.views.position(), story.counts()), (9, (0, 0)));
}

#[test]
fn an_event_without_a_type_that_names_a_connection_is_counted() {
    let story = Story::new().given(&json!({"data": {"org_connection_id": "c"}}));
    assert_eq!((story.connection("c").status, story.connection("c").lineage.version), (Status::Unknown, 1));
}
