//! Tests of the rules of an export's state. A table has the order of its outcomes. Knows only the fold.

use serde_json::json;

use super::order::date;
use super::*;
use crate::event::Provenance::{self, Import, Local, Webhook};
use crate::fold::entities::{ExportStatus, Id};

/// A report, the hour of its `date`, the hour at which it is recorded, and how it came.
type Given = (&'static str, i64, i64, Provenance);

struct Case {
    name: &'static str,
    given: &'static [Given],
    /// READY, or the reason of the failure.
    outcome: Result<(), &'static str>,
    /// Last part of the URL.
    link: Option<&'static str>,
    deadline_hour: Option<i64>,
    after_revocation: bool,
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "a failure has its reason, and no deadline",
        given: &[("failed suppressed_please_contact", 1, 1, Webhook)],
        outcome: Err("suppressed_please_contact"), link: None, deadline_hour: None, after_revocation: false },
    Case { name: "an open list of reasons is kept as it is written",
        given: &[("failed something_new", 1, 1, Webhook)],
        outcome: Err("something_new"), link: None, deadline_hour: None, after_revocation: false },
    Case { name: "the deadline is a day after the first report that it is ready, whatever was before",
        given: &[("failed a", 1, 1, Webhook), ("ready 1", 5, 6, Webhook)],
        outcome: Ok(()), link: Some("1"), deadline_hour: Some(30), after_revocation: false },
    Case { name: "within the day it is the same export, reported again",
        given: &[("ready 1", 5, 5, Webhook), ("ready 2", 29, 29, Webhook)],
        outcome: Ok(()), link: Some("2"), deadline_hour: Some(29), after_revocation: false },
    Case { name: "after its deadline it has been made again",
        given: &[("ready 1", 5, 5, Webhook), ("ready 2", 30, 30, Webhook)],
        outcome: Ok(()), link: Some("2"), deadline_hour: Some(54), after_revocation: false },
    Case { name: "and then the old links are dead",
        given: &[("ready 1", 5, 5, Webhook), ("ready", 30, 30, Webhook)],
        outcome: Ok(()), link: None, deadline_hour: Some(54), after_revocation: false },
    Case { name: "before it they are not",
        given: &[("ready 1", 5, 5, Webhook), ("ready", 28, 28, Webhook)],
        outcome: Ok(()), link: Some("1"), deadline_hour: Some(29), after_revocation: false },
    Case { name: "a failure takes no link away",
        given: &[("ready 1", 5, 5, Webhook), ("failed b", 6, 6, Webhook)],
        outcome: Err("b"), link: Some("1"), deadline_hour: Some(29), after_revocation: false },
    Case { name: "ready again after a failure",
        given: &[("failed b", 6, 6, Webhook), ("ready 1", 7, 7, Webhook)],
        outcome: Ok(()), link: Some("1"), deadline_hour: Some(31), after_revocation: false },
    Case { name: "ready after a revocation is kept, and marked",
        given: &[("authorized", 1, 1, Webhook), ("revoked", 50, 50, Webhook), ("ready 1", 51, 51, Webhook)],
        outcome: Ok(()), link: Some("1"), deadline_hour: Some(75), after_revocation: true },
    Case { name: "one that was ready before the revocation is not marked by it",
        given: &[("ready 1", 1, 1, Webhook), ("revoked", 5, 5, Webhook)],
        outcome: Ok(()), link: Some("1"), deadline_hour: Some(25), after_revocation: false },
    Case { name: "ready again after a reconnect has no mark",
        given: &[("revoked", 1, 1, Webhook), ("ready 1", 2, 2, Webhook), ("authorized", 50, 50, Webhook),
            ("ready 2", 51, 51, Webhook)],
        outcome: Ok(()), link: Some("2"), deadline_hour: Some(75), after_revocation: false },
    Case { name: "a failure after a revocation has no mark",
        given: &[("revoked", 1, 1, Webhook), ("ready 1", 2, 2, Webhook), ("failed c", 3, 3, Webhook)],
        outcome: Err("c"), link: Some("1"), deadline_hour: Some(26), after_revocation: false },
    Case { name: "an imported one was reported at its date",
        given: &[("ready 1", 5, 200, Import)],
        outcome: Ok(()), link: Some("1"), deadline_hour: Some(29), after_revocation: false },
    Case { name: "the date of a webhook is not asked",
        given: &[("ready 1", 5, 200, Webhook)],
        outcome: Ok(()), link: Some("1"), deadline_hour: Some(224), after_revocation: false },
    Case { name: "a readmitted one was reported at its date",
        given: &[("ready 1", 5, 8, Local)],
        outcome: Ok(()), link: Some("1"), deadline_hour: Some(29), after_revocation: false },
    Case { name: "an import of a date that is yet to come was reported now",
        given: &[("ready 1", 500, 200, Import)],
        outcome: Ok(()), link: Some("1"), deadline_hour: Some(224), after_revocation: false },
    Case { name: "an old import does not overturn what is newer",
        given: &[("ready 2", 100, 100, Webhook), ("failed a", 99, 101, Import), ("ready 1", 5, 102, Import)],
        outcome: Ok(()), link: Some("2"), deadline_hour: Some(124), after_revocation: false },
    Case { name: "imports come to the same in any order",
        given: &[("failed b", 90, 200, Import), ("ready 1", 80, 201, Import), ("failed a", 70, 202, Import)],
        outcome: Err("b"), link: Some("1"), deadline_hour: Some(104), after_revocation: false },
    Case { name: "imports in the order of their dates",
        given: &[("failed a", 70, 200, Import), ("ready 1", 80, 201, Import), ("failed b", 90, 202, Import)],
        outcome: Err("b"), link: Some("1"), deadline_hour: Some(104), after_revocation: false },
    Case { name: "an import of what was ready before the revocation is not marked by it",
        given: &[("revoked", 50, 50, Webhook), ("ready 1", 40, 60, Import)],
        outcome: Ok(()), link: Some("1"), deadline_hour: Some(64), after_revocation: false },
    Case { name: "a webhook after an import goes on from it",
        given: &[("ready 1", 5, 200, Import), ("ready 2", 201, 201, Webhook)],
        outcome: Ok(()), link: Some("2"), deadline_hour: Some(225), after_revocation: false },
];

/// Returns the body of a report in the table, with the hour of its `date`.
fn dated(report: &str, hour: i64) -> Value {
    let (kind, rest) = report.split_once(' ').unwrap_or((report, ""));
    let mut body = match kind {
        "revoked" => revocation(),
        "authorized" => attempt("authorized"),
        "failed" => failed(rest),
        _ => ready(),
    };
    if kind == "ready" {
        let link = if rest.is_empty() { String::new() } else { format!("https://x.test/{rest}") };
        body["data"]["download_link"] = link.into();
    }
    body["date"] = date(hour).into();
    body
}

#[test]
fn the_table_of_exports_holds() {
    for case in CASES {
        let mut story = Story::new();
        for (report, date, hour, provenance) in case.given {
            story = story.at(*hour).given_as(*provenance, &dated(report, *date));
        }
        let export = story.export("t");
        let outcome = match export.status {
            ExportStatus::Ready => Ok(()),
            ExportStatus::Failed => Err(export.failure_reason.as_deref().unwrap_or_default()),
        };
        let links: Vec<_> = export.links.iter().map(|link| link.url.rsplit('/').next().unwrap()).collect();
        assert_eq!((outcome, links.first()), (case.outcome, case.link.as_ref()), "{}", case.name);
        let deadline = export.deadline.map(|deadline| deadline.as_micros() / HOUR);
        assert_eq!((deadline, export.after_revocation), (case.deadline_hour, case.after_revocation), "{}", case.name);
        let reports = case.given.iter().map(|(report, ..)| report);
        let of_export = reports.filter(|report| report.starts_with("ready") || report.starts_with("failed"));
        assert_eq!(export.lineage.version, of_export.count() as u64, "{}", case.name);
    }
}

#[test]
fn token_failure_before_an_authorisation_needs_no_reconnect() {
    let failed = |story: Story, provenance| story.given_as(provenance, &dated("failed token_refresh_failure", 40));
    let authorized = || Story::new().at(50).given(&dated("authorized", 50)).at(60);
    assert!(!failed(authorized(), Import).connection("c").needs_reconnect);
    assert!(failed(authorized(), Webhook).connection("c").needs_reconnect, "it has just been reported");
    assert!(failed(Story::new().at(50), Import).connection("c").needs_reconnect, "no authorisation is known");
}

#[test]
fn an_export_stands_alone_until_an_event_names_its_connection() {
    let nameless = body("patient.ehi_export_success", &json!({"task_id": "t", "download_link": "https://x.test/1"}));
    let story = Story::new().given(&nameless);
    assert_eq!((story.export("t").connection_id.clone(), story.counts()), (None, (0, 1)));

    let story = story.given(&ready()).given(&nameless);
    assert_eq!((story.export("t").connection_id.clone(), story.counts()), (text("c"), (1, 1)));
    let of_c = story.views.exports_of(&Story::live(), Id::find("c"), None);
    assert_eq!(of_c.map(|(task_id, _)| task_id).collect::<Vec<_>>(), [Id::find("t")]);
    assert_eq!(story.connection("c").lineage.version, 1, "its other events do not name the connection");
}

#[test]
fn links_of_every_form_are_one_list_without_repeats() {
    let data = json!({
        "task_id": "t",
        "download_links": [
            {"url": "https://x.test/1", "export_type": "jsonl", "content_type": "application/fhir+ndjson"},
            "https://x.test/2", "", 7, {"export_type": "jsonl"}, null,
        ],
        "download_link": {"url": "https://x.test/3"},
    });
    let links = |data| {
        let export = Story::new().given(&body("patient.ehi_export_success", &data)).export("t");
        export.links.iter().map(|link| (link.url.to_string(), link.export_type.clone())).collect::<Vec<_>>()
    };
    let bare = |url: &str| (url.to_owned(), None);
    let first = ("https://x.test/1".to_owned(), text("jsonl"));
    assert_eq!(links(data), [first.clone(), bare("https://x.test/2"), bare("https://x.test/3")]);

    let both = json!({
        "task_id": "t",
        "download_links": {"url": "https://x.test/1", "export_type": "jsonl"},
        "download_link": "https://x.test/1",
    });
    assert_eq!(links(both), [first]);
}

#[test]
fn stats_and_links_survive_their_absence() {
    let stats = json!({"total_resources": 3, "total_by_resource_type": {"Patient": 1, "Odd": -1, "Odder": "1"}});
    let data = json!({"task_id": "t", "stats": stats, "download_link": "https://x.test/1"});
    let story = Story::new().given(&body("patient.ehi_export_success", &data));
    let story = story.given(&body("patient.ehi_export_success", &json!({"task_id": "t", "stats": 3})));
    let export = story.export("t");
    let stats = export.stats.as_ref().unwrap();
    assert_eq!((stats.total_resources, stats.total_by_resource_type.len(), export.links.len()), (Some(3), 1, 1));
}
