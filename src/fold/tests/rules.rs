//! Tests of the rules of docs/rules.md, as a table: reports about connection `c` and task `t`, and the state after
//! them. Where the times of events matter, `order.rs` and `exports.rs` have tables of their own. Knows only the fold.

use super::*;
use crate::fold::entities::{ExportStatus, Status};

/// A rule; the reported events, one a line; the connection after them; the export after them.
type Rule = (&'static str, &'static [&'static str], &'static str, &'static str);

#[rustfmt::skip]
const RULES: &[Rule] = &[
    // Status.
    ("a success sets what it reports", &["success connection_status=authorized"], "AUTHORIZED v1", ""),
    ("a rejection", &["success connection_status=rejected"], "REJECTED v1", ""),
    ("a success may report a revocation", &["success connection_status=revoked"], "REVOKED v1", ""),
    ("a word that we do not know is kept", &["success connection_status=connected"], "UNRECOGNIZED(connected) v1", ""),
    ("words are as they are written", &["success connection_status=Authorized"], "UNRECOGNIZED(Authorized) v1", ""),
    ("no status says nothing", &["success"], "UNKNOWN v1", ""),
    ("no status changes nothing", &["authorized", "success"], "AUTHORIZED v2", ""),
    ("an empty status changes nothing", &["authorized", "success connection_status="], "AUTHORIZED v2", ""),
    ("a revocation revokes", &["authorized", "revocation connection_status=revoked"], "REVOKED v2 ambiguous", ""),
    ("whatever it reports", &["authorized", "revocation connection_status=authorized"], "REVOKED(authorized) v2 ambiguous", ""),
    ("and if it reports nothing", &["authorized", "revocation"], "REVOKED() v2 ambiguous", ""),
    ("a revocation makes a connection known", &["revocation connection_status=revoked"], "REVOKED v1", ""),
    ("an export makes a connection known", &["ready"], "UNKNOWN v1", "READY c v1 links 1"),
    ("an export never changes the status", &["authorized", "ready", "failed"], "AUTHORIZED v3", "FAILED c v2 links 1"),
    ("nor does one of a revoked connection", &["revoked", "ready"], "REVOKED v2", "READY c v1 links 1 after_revocation"),
    // Reconnects.
    ("authorized after a revocation is a reconnect", &["authorized", "revoked", "authorized"], "AUTHORIZED v3 reconnects 1 ambiguous", ""),
    ("any number of times", &["revoked", "authorized", "revoked", "authorized"], "AUTHORIZED v4 reconnects 2 ambiguous", ""),
    ("authorized again is none", &["authorized", "authorized"], "AUTHORIZED v2", ""),
    ("a rejection is no revocation", &["rejected", "authorized"], "AUTHORIZED v2 ambiguous", ""),
    ("a rejection in between does not hide it", &["revoked", "rejected", "authorized"], "AUTHORIZED v3 reconnects 1 ambiguous", ""),
    // Connections that need a reconnect.
    ("a token that cannot be refreshed", &["authorized", "failed failure_reason=token_refresh_failure"], "AUTHORIZED v2 needs_reconnect", "FAILED(token_refresh_failure) c v1"),
    ("no other failure", &["authorized", "failed failure_reason=resource_patient_failure"], "AUTHORIZED v2", "FAILED(resource_patient_failure) c v1"),
    ("until the next authorisation", &["failed failure_reason=token_refresh_failure", "authorized"], "AUTHORIZED v2", "FAILED(token_refresh_failure) c v1"),
    ("not until a rejection, or an export", &["failed failure_reason=token_refresh_failure", "rejected", "ready"], "REJECTED v3 needs_reconnect", "READY c v2 links 1"),
    ("not if it names no connection", &["authorized", "failed org_connection_id= failure_reason=token_refresh_failure"], "AUTHORIZED v1", "FAILED(token_refresh_failure) - v1"),
    // Merging.
    ("facts survive their absence", &["success external_id=x platform_type=epic brand_id=b", "authorized"], "AUTHORIZED v2 external_id=x platform_type=epic brand_id=b", ""),
    ("and an empty one", &["success external_id=x", "success external_id="], "UNKNOWN v2 external_id=x", ""),
    ("the last report replaces", &["success external_id=x", "success external_id=y"], "UNKNOWN v2 external_id=y", ""),
    ("a revocation reports facts, too", &["revocation platform_type=epic tefca_directory_id=d"], "REVOKED() v1 platform_type=epic tefca_directory_id=d", ""),
    ("an export reports the organisation", &["ready org_id=o", "failed"], "UNKNOWN v2 org_id=o", "FAILED c v2 links 1"),
    ("an attempt is replaced as a set", &["success request_id=r external_state=s scope=p", "success scope=q"], "UNKNOWN v2 scope=q", ""),
    ("by an attempt only", &["success request_id=r", "revoked", "ready"], "REVOKED v3 request_id=r", "READY c v1 links 1 after_revocation"),
    ("either spelling of the request id", &["success request-id=r"], "UNKNOWN v1 request_id=r", ""),
    ("a numeric id is its digits", &["success external_id:1842"], "UNKNOWN v1 external_id=1842", ""),
    // Versions.
    ("a type that we do not know counts, and reports nothing", &["authorized", "patient.new external_id=x connection_status=revoked"], "AUTHORIZED v2", ""),
    ("an event of its export that does not name it does not", &["ready", "ready org_connection_id="], "UNKNOWN v1", "READY c v2 links 1"),
    ("events of other concerns change nothing", &["authorized", "webhook.test", "patient.request_support", "patient.request_health_system"], "AUTHORIZED v1", ""),
    // Joins.
    ("an export stands alone", &["ready org_connection_id="], "", "READY - v1 links 1"),
    ("until an event of its task names a connection", &["ready org_connection_id=", "failed"], "UNKNOWN v1", "FAILED c v2 links 1"),
    ("an export first, its connection later", &["ready", "success external_id=x"], "UNKNOWN v2 external_id=x", "READY c v1 links 1 of x"),
    ("a connection first, its export later", &["success external_id=x", "ready"], "UNKNOWN v2 external_id=x", "READY c v1 links 1 of x"),
    ("an event of its task that names no connection takes none away", &["ready", "failed org_connection_id="], "UNKNOWN v1", "FAILED c v2 links 1"),
    ("an export moves to the connection that was named last", &["ready org_connection_id=d", "ready"], "UNKNOWN v1", "READY c v2 links 1"),
    ("an export without a task is an event of its connection only", &["ready task_id="], "UNKNOWN v1", ""),
    // Links.
    ("links as strings", &["ready download_link= download_links:[\"https://x.test/1\",\"https://x.test/2\"]"], "UNKNOWN v1", "READY c v1 links 2"),
    ("and as objects, each once", &["ready download_link=https://x.test/1 download_links:[{\"url\":\"https://x.test/1\"}]"], "UNKNOWN v1", "READY c v1 links 1"),
];

/// Returns a body. Words are `name=text` or `name:JSON`. For connection `c` and task `t`, unless stated otherwise.
fn reported(report: &str) -> Value {
    let report = match report {
        "authorized" | "rejected" => format!("success connection_status={report}"),
        "revoked" => format!("revocation connection_status={report}"),
        other => other.to_owned(),
    };
    let mut words = report.split(' ');
    let mut data = json!({"org_connection_id": "c"});
    let kind = match words.next().unwrap() {
        "success" => "patient.connection_success",
        "revocation" => "patient.authorization_revoked",
        "failed" => "patient.ehi_export_failed",
        "ready" => "patient.ehi_export_success",
        kind => kind,
    };
    if kind.contains("export") {
        data["task_id"] = "t".into();
    }
    if kind.ends_with("export_success") {
        data["download_link"] = "https://x.test/1".into();
    }
    for word in words {
        let at = word.find(['=', ':']).unwrap();
        let (name, value) = (&word[..at], &word[at + 1..]);
        data[name] = if word[at..].starts_with('=') { value.into() } else { serde_json::from_str(value).unwrap() };
    }
    body(kind, &data)
}

fn connection(connection: &Connection) -> String {
    let word = connection.reported_status.as_deref();
    let (status, usual) = match connection.status {
        Status::Unknown => ("UNKNOWN", None),
        Status::Authorized => ("AUTHORIZED", Some("authorized")),
        Status::Rejected => ("REJECTED", Some("rejected")),
        Status::Revoked => ("REVOKED", Some("revoked")),
        Status::Unrecognized => ("UNRECOGNIZED", None),
    };
    let word = if word == usual { String::new() } else { format!("({})", word.unwrap_or_default()) };
    let mut parts = vec![format!("{status}{word} v{}", connection.lineage.version)];
    if connection.reconnect_count > 0 {
        parts.push(format!("reconnects {}", connection.reconnect_count));
    }
    if connection.needs_reconnect {
        parts.push("needs_reconnect".into());
    }
    if connection.order_ambiguous {
        parts.push("ambiguous".into());
    }
    if connection.last_was_late {
        parts.push("late".into());
    }
    let facts = &connection.facts;
    let attempt = &connection.attempt;
    let texts = [
        ("external_id", &facts.external_id),
        ("platform_type", &facts.platform_type),
        ("endpoint_id", &facts.endpoint_id),
        ("brand_id", &facts.brand_id),
        ("portal_id", &facts.portal_id),
        ("tefca_directory_id", &facts.tefca_directory_id),
        ("org_id", &facts.org_id),
        ("request_id", &attempt.request_id),
        ("external_state", &attempt.external_state),
        ("scope", &attempt.scope),
    ];
    parts.extend(texts.into_iter().filter_map(|(name, text)| Some(format!("{name}={}", text.as_ref()?))));
    parts.join(" ")
}

fn export(story: &Story) -> Option<String> {
    let joined = story.views.export(&Story::live(), "t").unwrap()?;
    let export = &joined.export;
    let status = match (&export.status, &export.failure_reason) {
        (ExportStatus::Ready, _) => "READY".to_owned(),
        (ExportStatus::Failed, None) => "FAILED".to_owned(),
        (ExportStatus::Failed, Some(reason)) => format!("FAILED({reason})"),
    };
    let owner = export.connection_id.as_deref().unwrap_or("-");
    let mut parts = vec![format!("{status} {owner} v{}", export.lineage.version)];
    if !export.links.is_empty() {
        parts.push(format!("links {}", export.links.len()));
    }
    if export.after_revocation {
        parts.push("after_revocation".into());
    }
    if let Some(patient) = joined.external_id() {
        parts.push(format!("of {patient}"));
    }
    Some(parts.join(" "))
}

#[test]
fn the_table_of_rules_holds() {
    for (rule, given, expected, expected_export) in RULES {
        let story = given.iter().fold(Story::new(), |story, report| story.given(&reported(report)));
        let known = story.views.connection(&Story::live(), "c");
        let found = (known.as_deref().map(connection).unwrap_or_default(), export(&story).unwrap_or_default());
        assert_eq!(found, ((*expected).to_owned(), (*expected_export).to_owned()), "{rule}: {given:#?}");
    }
}
