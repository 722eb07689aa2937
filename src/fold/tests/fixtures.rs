//! Tests that every recorded body, and every field of the user's own document, ends in the state. Knows only the fold.

use serde_json::json;

use super::*;
use crate::event::Envelope;
use crate::fold::entities::{ExportStatus, Status};

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

const ONE: &str = "a1b2c3d4-0000-4000-8000-000000000001";
const TWO: &str = "a1b2c3d4-0000-4000-8000-000000000002";
const THREE: &str = "a1b2c3d4-0000-4000-8000-000000000003";

#[test]
fn one_patients_story_ends_revoked_with_its_export_kept() {
    let story = Story::new()
        .given(&fixture("connection_success.live"))
        .given(&fixture("ehi_export_success.2026"))
        .given(&fixture("ehi_export_failed"))
        .given(&fixture("ehi_export_failed.token_refresh"))
        .given(&fixture("authorization_revoked"));
    let connection = story.connection(ONE);
    assert_eq!((connection.status, connection.lineage.version), (Status::Revoked, 5));
    assert!(connection.needs_reconnect);
    assert_eq!(connection.facts.external_id, text("user-1842"));
    assert_eq!(connection.attempt.external_state, text("attempt-77"));
    assert_eq!(connection.facts.org_id, text("d0000000-0000-4000-8000-000000000014"));

    let export = story.export("00c9aa11bb22cc33dd44ee55ff660077");
    let stats = export.stats.as_ref().unwrap();
    assert_eq!((stats.total_resources, stats.total_by_resource_type["Observation"]), (Some(42), 30));
    assert_eq!(export.links[0].content_type, text("application/fhir+ndjson"));
    assert_eq!(story.counts(), (1, 3));
}

#[test]
fn tefca_flat_and_older_bodies_are_read() {
    let story = Story::new()
        .given(&fixture("connection_success.tefca"))
        .given(&fixture("connection_success.reported_revoked"))
        .given(&fixture("connection_success.2025"))
        .given(&fixture("authorization_revoked.flat"))
        .given(&fixture("ehi_export_success.2025"));
    let tefca = story.connection(TWO);
    assert_eq!((tefca.status, tefca.facts.endpoint_id.clone()), (Status::Revoked, None));
    assert_eq!(tefca.facts.tefca_directory_id, text("urn:oid:2.16.840.1.999999.1.2.3"));
    assert_eq!((&tefca.attempt.external_state, &tefca.attempt.request_id), (&text("vpc-992"), &None));

    let from_2025 = story.connection(THREE);
    assert_eq!((from_2025.status, from_2025.facts.external_id.clone()), (Status::Revoked, None));
    assert_eq!(from_2025.attempt.request_id, text("7d1f5c0a-1111-4222-8333-444455556668"));
    let export = story.export("fedec7b78cf6905872032b426473");
    assert_eq!((export.status, export.links.len()), (ExportStatus::Ready, 1));
}

#[test]
fn an_export_of_2024_stands_alone() {
    let story = Story::new().given(&fixture("ehi_export_success.2024"));
    let export = story.export("abc");
    assert_eq!((export.connection_id.clone(), export.links.len(), export.stats.is_none()), (None, 1, true));
}

#[test]
fn events_of_other_concerns_are_kept_only() {
    let story = Story::new()
        .given(&fixture("webhook_test"))
        .given(&fixture("request_support"))
        .given(&fixture("request_health_system"));
    assert_eq!((story.views.position(), story.counts()), (3, (0, 0)));
}

/// The document's five events, with its own values where it has some, and every field that it lists.
#[test]
fn every_field_of_the_document_is_in_the_state_or_the_raw_event() {
    let success = json!({
        "download_link": "https://api.connect.fastenhealth.com/v1/bridge/fhir/ehi-export/fedec7b7-8cf6-4bc9-72032b426473/download/2024-06-12-6715-4ae4-bde5-ab97519bd1fa.jsonl",
        "org_connection_id": "189484f4-1234-1234-1234-78a8caa3b64a",
        "task_id": "fedec7b78cf6905872032b426473",
        "org_id": "592c0579-443f-a94e-4c8847c0c066",
        "stats": {"total_resources": 12},
    });
    let connected = json!({
        "org_connection_id": "189484f4-1234-1234-1234-78a8caa3b64a", "endpoint_id": "e", "brand_id": "b",
        "portal_id": "p", "connection_status": "authorized", "platform_type": "epic", "request-id": "r",
        "external_id": "x", "external_state": "s",
    });
    let story = Story::new()
        .given(&body("patient.connection_success", &connected))
        .given(&body("patient.ehi_export_success", &success));
    let export = story.export("fedec7b78cf6905872032b426473");
    assert!(export.links[0].url.ends_with("ab97519bd1fa.jsonl"));
    assert_eq!(export.stats.as_ref().unwrap().total_resources, Some(12));
    assert_eq!(export.org_id, text("592c0579-443f-a94e-4c8847c0c066"));
    assert_eq!(export.connection_id, text("189484f4-1234-1234-1234-78a8caa3b64a"));

    let connection = story.connection("189484f4-1234-1234-1234-78a8caa3b64a");
    let facts = &connection.facts;
    assert_eq!((&facts.endpoint_id, &facts.brand_id, &facts.portal_id), (&text("e"), &text("b"), &text("p")));
    assert_eq!((&facts.platform_type, &facts.external_id), (&text("epic"), &text("x")));
    assert_eq!((&connection.attempt.request_id, &connection.attempt.external_state), (&text("r"), &text("s")));
    assert_eq!(connection.status, Status::Authorized);

    let failed = json!({
        "failure_reason": "suppressed_please_contact", "org_connection_id": "189484f4-1234-1234-1234-78a8caa3b64a",
        "task_id": "fedec7b78cf6905872032b426473", "org_id": "592c0579-443f-a94e-4c8847c0c066",
    });
    let revoked = json!({
        "org_connection_id": "189484f4-1234-1234-1234-78a8caa3b64a", "endpoint_id": "e2", "portal_id": "p2",
        "brand_id": "b2", "platform_type": "cerner", "connection_status": "revoked",
    });
    let story = story
        .given(&body("patient.ehi_export_failed", &failed))
        .given(&body("patient.authorization_revoked", &revoked));
    let failure = story.export("fedec7b78cf6905872032b426473").failure_reason.clone();
    assert_eq!(failure, text("suppressed_please_contact"));
    let connection = story.connection("189484f4-1234-1234-1234-78a8caa3b64a");
    let facts = &connection.facts;
    assert_eq!((&facts.endpoint_id, &facts.brand_id, &facts.portal_id), (&text("e2"), &text("b2"), &text("p2")));
    assert_eq!((connection.status, &facts.platform_type), (Status::Revoked, &text("cerner")));
}

#[test]
fn the_documents_empty_sample_is_kept_and_changes_nothing() {
    let empty = json!({
        "org_connection_id": "", "endpoint_id": "", "brand_id": "", "portal_id": "", "connection_status": "",
        "platform_type": "", "request_id": "", "external_id": "",
    });
    let story = Story::new().given(&body("patient.connection_success", &empty));
    assert_eq!((story.views.position(), story.counts()), (1, (0, 0)));
    let test = serde_json::to_vec(&json!({"hello": "world", "random": "txpsdf923jksdfl93"})).unwrap();
    assert_eq!(Envelope::read(&test), Envelope::default());
}
