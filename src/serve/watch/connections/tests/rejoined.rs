//! Tests of exports that a filter sees differently because their connection changed. A watch that keeps up and one that
//! comes much later are shown the same changes, and correct ones.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::fold::Realm;
use crate::proto::change::{Effect, Entity};
use crate::proto::{self, ConnectionStatus, WatchKind};
use crate::serve::query::ExportFilter;
use crate::serve::wire;

/// An event about an export, or about the status or the patient of a connection.
#[derive(Debug, Clone)]
enum Step {
    Exported(Option<u8>, u8),
    Failed(u8, u8),
    Connected(u8, &'static str, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let connection = 0..3_u8;
    let task = 0..5_u8;
    let status = prop::sample::select(vec!["authorized", "revoked"]);
    prop_oneof![
        4 => (prop::option::weighted(0.8, connection.clone()), task.clone())
            .prop_map(|(id, task)| Step::Exported(id, task)),
        // The failure asks for a reconnect: the event changes both, and the filter sees it.
        1 => (connection.clone(), task).prop_map(|(id, task)| Step::Failed(id, task)),
        4 => (connection, status, 0..2_u8).prop_map(|(id, status, patient)| Step::Connected(id, status, patient)),
    ]
}

fn body(step: &Step) -> String {
    let (kind, data) = match step {
        Step::Exported(None, task) => ("ehi_export_success", format!(r#""task_id":"t{task}""#)),
        Step::Exported(Some(id), task) => {
            ("ehi_export_success", format!(r#""org_connection_id":"c{id}","task_id":"t{task}""#))
        }
        Step::Failed(id, task) => (
            "ehi_export_failed",
            format!(r#""org_connection_id":"c{id}","task_id":"t{task}","failure_reason":"token_refresh_failure""#),
        ),
        Step::Connected(id, status, patient) => (
            "connection_success",
            format!(r#""org_connection_id":"c{id}","connection_status":"{status}","external_id":"x{patient}""#),
        ),
    };
    format!(r#"{{"api_mode":"live","type":"patient.{kind}","id":"e","data":{{{data}}}}}"#)
}

/// Returns queries for the exports of all connections, or of some.
fn queries() -> Vec<Arc<Query>> {
    let authorized = vec![ConnectionStatus::Authorized.into()];
    let filters = [
        ConnectionFilter::default(),
        ConnectionFilter { statuses: authorized.clone(), ..ConnectionFilter::default() },
        ConnectionFilter { external_ids: vec!["x1".into()], statuses: authorized, ..ConnectionFilter::default() },
        ConnectionFilter { needs_reconnect: Some(false), ..ConnectionFilter::default() },
    ];
    let query = |filter| {
        let kinds = vec![WatchKind::Export.into()];
        let request = WatchConnectionsRequest { filter: Some(filter), kinds, ..WatchConnectionsRequest::default() };
        watch_request(request).query
    };
    filters.into_iter().map(query).collect()
}

type Exports = BTreeMap<String, proto::Export>;

/// Returns all matching exports, by a look at every export.
fn matching(query: &Query, views: &Views) -> Exports {
    let realm: &Realm = &query.realm;
    let filter = ExportFilter::default();
    let found = views.find_exports(realm, &filter.query(), None);
    let joined = found.map(|(task_id, candidate)| views.load(realm, &task_id, &candidate).unwrap());
    let matching = joined.filter(|joined| query.filter.matches(&joined.export, joined.connection.as_deref()));
    matching.map(|joined| (joined.export.task_id.to_string(), wire::export(&joined, &query.principal))).collect()
}

/// Applies the changes that a client is shown. A known export never enters, and an unknown one never leaves or is
/// updated.
fn follow(known: &mut Exports, changes: Vec<proto::Change>) {
    let mut seen = Vec::new();
    for change in changes {
        let effect = change.effect();
        let Some(Entity::Export(export)) = change.entity else { panic!("nothing but exports") };
        assert!(!seen.contains(&export.task_id), "{} is shown twice", export.task_id);
        seen.push(export.task_id.clone());
        let before = match effect {
            Effect::Left => known.remove(&export.task_id),
            _ => known.insert(export.task_id.clone(), export),
        };
        assert_eq!(before.is_some(), effect != Effect::Entered, "{effect:?}");
    }
}

/// Checks the changes that a query is shown. `views` are those before the first event and after each event. A watch is
/// shown the same changes whether it looks from the current views or from the last ones, and then knows exactly the
/// exports that match.
fn check(query: &Query, views: &[Arc<Views>]) {
    let last = views.last().unwrap();
    let mut known = Exports::new();
    for views in &views[1..] {
        let stretch = views.changes_after(views.position() - 1, 1).unwrap();
        for changes in stretch.changes.iter().filter(|changes| query.sees(changes)) {
            let shown = |views| query.changes(changes, views).ok().unwrap();
            assert!(shown(views) == shown(last), "at {}", views.position());
            follow(&mut known, shown(last));
        }
        assert!(known == matching(query, views), "after {}", views.position());
    }
}

proptest! {
    #[test]
    fn moved_and_changed_exports_show_when_their_connection_does(steps in prop::collection::vec(step(), 1..40)) {
        let mut fold = Fold::new(100);
        let mut views = vec![fold.publish()];
        for (at, step) in steps.iter().enumerate() {
            fold.advance(&event(at as Position + 1, body(step))).unwrap();
            views.push(fold.publish());
        }
        for query in queries() {
            check(&query, &views);
        }
    }
}
