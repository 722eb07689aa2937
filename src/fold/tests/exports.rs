//! The rules of an export's state.

use serde_json::json;

use super::*;
use crate::fold::{ExportStatus, Id};

#[test]
fn the_deadline_is_a_day_after_the_first_receipt_and_starts_anew_only_after_it() {
    let story = Story::new().given(&failed("suppressed_please_contact"));
    assert_eq!(story.export("t").deadline, None);

    let story = story.after_hours(5).given(&ready());
    let deadline = story.now().plus_micros(24 * HOUR);
    assert_eq!(story.export("t").deadline, Some(deadline));
    let story = story.after_hours(23).given(&ready());
    assert_eq!(story.export("t").deadline, Some(deadline), "the same export, told again");

    let story = story.after_hours(2).given(&ready());
    assert_eq!(story.export("t").deadline, Some(story.now().plus_micros(24 * HOUR)));
    assert_eq!(story.export("t").trail.version, 4);
}

#[test]
fn a_failure_keeps_its_reason_and_takes_no_link_away() {
    let story = Story::new().given(&ready()).given(&failed("something_new"));
    let export = story.export("t");
    assert_eq!((export.status, export.failure_reason.clone()), (ExportStatus::Failed, text("something_new")));
    assert!(export.links.len() == 1 && export.deadline.is_some());

    let export = story.given(&ready()).export("t");
    assert_eq!((export.status, export.failure_reason.clone()), (ExportStatus::Ready, None));
}

#[test]
fn an_export_that_is_ready_after_a_revocation_is_kept_and_marked() {
    let story = Story::new().given(&attempt("authorized")).given(&ready());
    assert!(!story.export("t").after_revocation);
    let story = story.given(&revocation()).given(&ready());
    let export = story.export("t");
    assert!(export.after_revocation && export.status == ExportStatus::Ready);
    let story = story.given(&attempt("authorized")).given(&ready());
    assert!(!story.export("t").after_revocation);
}

#[test]
fn an_export_stands_alone_until_an_event_of_its_task_names_a_connection() {
    let nameless = body("patient.ehi_export_success", &json!({"task_id": "t", "download_link": "https://x.test/1"}));
    let story = Story::new().given(&nameless);
    assert_eq!((story.export("t").connection_id.clone(), story.counts()), (None, (0, 1)));

    let story = story.given(&ready()).given(&nameless);
    assert_eq!((story.export("t").connection_id.clone(), story.counts()), (text("c"), (1, 1)));
    let of_c = story.views.exports_of(&Story::live(), Id::find("c"), None);
    assert_eq!(of_c.map(|(task_id, _)| task_id).collect::<Vec<_>>(), [Id::find("t")]);
    assert_eq!(story.connection("c").trail.version, 1, "its other events do not name the connection");
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
