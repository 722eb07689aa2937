//! Tests of the order of events that have no time of their own, as a table of given events and the state after them.
//! Knows only the fold.

use serde_json::json;

use super::*;
use crate::fold::entities::Status::{self, Authorized, Rejected, Revoked};

/// Content of a delivery, the hour of its `date`, and the hour at which it is recorded.
type Given = (&'static str, i64, i64);

struct Case {
    name: &'static str,
    given: &'static [Given],
    status: Status,
    ambiguous: bool,
    late: bool,
    reconnects: u32,
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "a day and more between two that contradict: their order is known",
        given: &[("authorized", 1, 1), ("revoked", 26, 26)],
        status: Revoked, ambiguous: false, late: false, reconnects: 0 },
    Case { name: "less than a day between two that contradict: the last to arrive counts, and may be wrong",
        given: &[("authorized", 1, 1), ("revoked", 24, 24)],
        status: Revoked, ambiguous: true, late: false, reconnects: 0 },
    Case { name: "exactly a day is not enough",
        given: &[("authorized", 1, 1), ("revoked", 25, 25)],
        status: Revoked, ambiguous: true, late: false, reconnects: 0 },
    Case { name: "the same again is no contradiction",
        given: &[("authorized", 1, 1), ("authorized", 2, 2)],
        status: Authorized, ambiguous: false, late: false, reconnects: 0 },
    Case { name: "the same again resolves nothing within a day",
        given: &[("revoked", 1, 1), ("authorized", 3, 3), ("authorized", 5, 5)],
        status: Authorized, ambiguous: true, late: false, reconnects: 1 },
    Case { name: "and does after one",
        given: &[("revoked", 1, 1), ("authorized", 3, 3), ("authorized", 28, 28)],
        status: Authorized, ambiguous: false, late: false, reconnects: 1 },
    Case { name: "what happened before, for certain, is history",
        given: &[("authorized", 50, 50), ("revoked", 25, 51)],
        status: Authorized, ambiguous: false, late: true, reconnects: 0 },
    Case { name: "what may have happened before is not",
        given: &[("authorized", 50, 50), ("revoked", 26, 51)],
        status: Revoked, ambiguous: true, late: false, reconnects: 0 },
    Case { name: "the newest that was reported decides what is history, not the last that arrived",
        given: &[("authorized", 50, 50), ("revoked", 30, 51), ("authorized", 25, 52)],
        status: Revoked, ambiguous: true, late: true, reconnects: 0 },
    Case { name: "a date that is yet to come is the time it was recorded",
        given: &[("authorized", 500, 1), ("revoked", 40, 40)],
        status: Revoked, ambiguous: false, late: false, reconnects: 0 },
    Case { name: "late is said of the last event only",
        given: &[("authorized", 50, 50), ("revoked", 1, 51), ("export", 52, 52)],
        status: Authorized, ambiguous: false, late: false, reconnects: 0 },
    Case { name: "an export is no contradiction, however old",
        given: &[("authorized", 50, 50), ("export", 1, 51)],
        status: Authorized, ambiguous: false, late: false, reconnects: 0 },
    Case { name: "history is no reconnect",
        given: &[("revoked", 50, 50), ("authorized", 1, 51)],
        status: Revoked, ambiguous: false, late: true, reconnects: 0 },
    Case { name: "a rejection on the way back does not hide the reconnect",
        given: &[("authorized", 1, 1), ("revoked", 50, 50), ("rejected", 100, 100), ("authorized", 150, 150)],
        status: Authorized, ambiguous: false, late: false, reconnects: 1 },
    Case { name: "a rejection alone is no revocation",
        given: &[("authorized", 1, 1), ("rejected", 50, 50), ("authorized", 100, 100)],
        status: Authorized, ambiguous: false, late: false, reconnects: 0 },
    Case { name: "the first word of a connection has nothing to contradict",
        given: &[("export", 10, 10), ("rejected", 11, 11)],
        status: Rejected, ambiguous: false, late: false, reconnects: 0 },
];

fn dated(word: &str, hour: i64) -> Value {
    let mut body = match word {
        "revoked" => revocation(),
        "export" => ready(),
        word => attempt(word),
    };
    body["date"] = date(hour).into();
    body
}

pub(super) fn date(hour: i64) -> String {
    jiff::Timestamp::from_second(hour * 3600).unwrap().to_string()
}

#[test]
fn the_table_of_orders_holds() {
    for Case { name, given, status, ambiguous, late, reconnects } in CASES {
        let mut story = Story::new();
        for (word, date, hour) in *given {
            story = story.at(*hour).given(&dated(word, *date));
        }
        let connection = story.connection("c");
        let found =
            (connection.status, connection.order_ambiguous, connection.last_was_late, connection.reconnect_count);
        assert_eq!(found, (*status, *ambiguous, *late, *reconnects), "{name}");
        assert_eq!(connection.lineage.version, given.len() as u64, "{name}");
    }
}

#[test]
fn an_older_event_adds_only_facts_not_yet_known() {
    let full = |external_id: &str, platform: &str, hour| {
        let data = json!({
            "org_connection_id": "c", "connection_status": "authorized", "external_id": external_id,
            "platform_type": platform, "scope": "old", "request_id": "r",
        });
        let mut body = body("patient.connection_success", &data);
        body["date"] = date(hour).into();
        body
    };
    let mut newest = revocation();
    newest["data"]["platform_type"] = "epic".into();
    let story = Story::new().at(50).given(&newest).given(&full("x", "tefca", 1));
    let connection = story.connection("c");
    assert_eq!((connection.status, connection.last_was_late), (Revoked, true));
    assert_eq!((&connection.facts.external_id, &connection.facts.platform_type), (&text("x"), &text("epic")));
    assert_eq!(connection.attempt.scope, None, "an old attempt is not the last one");
    assert_eq!(story.views.connections_of(&Story::live(), "x", None).count(), 1, "the index has the id from history");

    let newer = story.at(100).given(&attempt("authorized")).given(&full("y", "tefca", 2)).connection("c");
    assert_eq!((&newer.facts.external_id, newer.last_was_late), (&text("x"), true));
}

#[test]
fn an_unreadable_date_counts_as_the_time_of_recording() {
    for date in [json!("soon"), json!(7), json!(""), json!(null)] {
        let mut odd = revocation();
        odd["date"] = date;
        let connection = Story::new().at(1).given(&attempt("authorized")).at(30).given(&odd).connection("c");
        assert_eq!((connection.status, connection.order_ambiguous), (Revoked, false));
    }
}
