//! Tests of the exports that belonged to a connection at an earlier position, each in its state at that position,
//! despite all later changes. Uses no log.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::kept::Kept;
use super::properties::realms;
use super::reference::Reference;
use super::*;
use crate::fold::entities::Id;

/// Checks that the views list the exports of each connection after a position as `then` has them.
#[track_caller]
pub(super) fn check_exports_at(views: &Views, at: Position, then: &Reference) {
    for realm in realms() {
        for (id, _) in views.connections(&realm, None) {
            let listed = views.exports_of_at(&realm, id.clone(), at);
            let listed = listed.map(|export| Export::clone(&export.unwrap())).collect::<Vec<_>>();
            let is_owned = |export: &&Export| export.realm == realm && export.owner() == id;
            let owned = then.exports.values().filter(is_owned);
            let expected: BTreeMap<_, _> = owned.map(|export| (&*export.task_id, export)).collect();
            assert!(
                listed.iter().eq(expected.into_values()),
                "of {id:?} at {at}, from {}: {listed:?}",
                views.position()
            );
        }
    }
}

/// A ready export, or the status of a connection. There are few of both, so that exports move often.
fn bodies() -> impl Strategy<Value = Value> {
    let connection = || prop::option::weighted(0.8, 0..3_u8).prop_map(|id| id.map(|id| format!("c{id}")));
    let export = (connection(), 0..4_u8).prop_map(|(id, task)| {
        body("patient.ehi_export_success", &json!({"org_connection_id": id, "task_id": format!("t{task}")}))
    });
    let status = (connection(), prop::sample::select(vec!["authorized", "revoked"])).prop_map(|(id, status)| {
        body("patient.connection_success", &json!({"org_connection_id": id, "connection_status": status}))
    });
    prop_oneof![3 => export, 1 => status]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn exports_of_a_connection_as_of_a_position_never_change(
        bodies in prop::collection::vec(bodies(), 1..40),
        restart_after in prop::collection::vec(prop::bool::weighted(0.1), 40),
    ) {
        let event = |(at, body): (usize, &Value)| {
            let hour = i64::try_from(at).unwrap() * HOUR;
            event(at as u64 + 1, hour, "acme", ModeVerdict::Live, &serde_json::to_vec(body).unwrap())
        };
        let events: Vec<_> = bodies.iter().enumerate().map(event).collect();
        let then = |at: Position| Reference::of(&events[..usize::try_from(at).unwrap()]);
        let mut kept = Kept::new(4);
        let mut published = Vec::new();
        for (event, restart) in events.iter().zip(restart_after) {
            kept.fold.advance(event).unwrap();
            if restart {
                published.clear();
                kept = kept.restarted();
            }
            let views = kept.fold.publish();
            check_exports_at(&views, event.position, &then(event.position));
            published.push(views);
        }
        for at in 1..=events.len() as u64 {
            let then = then(at);
            for views in published.iter().filter(|views| views.position() >= at).step_by(7) {
                check_exports_at(views, at, &then);
            }
            check_exports_at(published.last().unwrap(), at, &then);
        }
    }
}

/// At position 4 the connection has "stays", "changes" in its state of then, and "leaves", which belongs to another one
/// now. It does not yet have "comes", which belongs to another one then, and "new".
#[test]
fn export_that_moved_changed_or_came_later_is_listed_as_it_was() {
    let export = |task: &str, id: &str| {
        body("patient.ehi_export_success", &json!({"org_connection_id": id, "task_id": task, "download_link": id}))
    };
    let mut kept = Kept::new(1);
    let realm = Story::live();
    let first = [("stays", "c"), ("changes", "c"), ("leaves", "c"), ("comes", "d")];
    let later = [("changes", "c"), ("leaves", "d"), ("comes", "c"), ("new", "c")];
    kept.fold_bodies(first.into_iter().chain(later).map(|(task, id)| export(task, id)));
    let mut kept = kept.restarted();
    for days in [0, 100] {
        kept.advance_clock(days * 24 * HOUR);
        kept.fold_bodies((0..20).map(|_| attempt("authorized")));
        let views = kept.fold.publish();
        let listed = |id: &str| {
            let exports = views.exports_of_at(&realm, Id::find(id), 4).map(Result::unwrap);
            exports.map(|export| (export.task_id.to_string(), export.lineage.version)).collect::<Vec<_>>()
        };
        let unchanged = |task: &str| (task.to_owned(), 1);
        assert_eq!(listed("c"), ["changes", "leaves", "stays"].map(unchanged));
        assert_eq!(listed("d"), ["comes"].map(unchanged));
    }
}
