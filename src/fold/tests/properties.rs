//! What holds for all events: the fold is total, a step is a pure function, and views do not depend on when they are shared.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let any = any::<String>().prop_map(Value::from);
    prop_oneof![6 => prop::sample::select(words).prop_map(Value::from), 1 => any, 1 => Just(Value::Null)]
}

/// Bodies that meet each other: few ids, every type, odd values now and then.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let kinds = word(&[
        "patient.connection_success",
        "patient.authorization_revoked",
        "patient.ehi_export_success",
        "patient.ehi_export_failed",
        "patient.something_new",
        "webhook.test",
    ]);
    let ids = (word(&["c1", "c2", "c3", ""]), word(&["t1", "t2", "t3", ""]), word(&["x1", "x2", ""]));
    let words = (
        word(&["authorized", "rejected", "revoked", ""]),
        word(&["token_refresh_failure", "other"]),
        word(&["https://x.test/1", "https://x.test/2"]),
    );
    (kinds, ids, words).prop_map(|(kind, (connection, task, external_id), (status, reason, link))| {
        let data = json!({
            "org_connection_id": connection, "task_id": task, "external_id": external_id,
            "connection_status": status, "failure_reason": reason, "download_links": [link],
        });
        serde_json::to_vec(&json!({"type": kind, "data": data})).unwrap()
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let name = prop_oneof![
        prop::sample::select(&["data", "org_connection_id", "task_id", "stats", "download_links", "type"][..])
            .prop_map(str::to_owned),
        any::<String>(),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..8).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => plausible(),
        1 => any_json().prop_map(|value| serde_json::to_vec(&value).unwrap()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let verdict = prop::sample::select(&[ModeVerdict::Live, ModeVerdict::Live, ModeVerdict::Test][..]);
    prop::collection::vec((bodies(), verdict, 0..30 * HOUR), 0..80).prop_map(|parts| {
        let mut now = 0;
        let event = |(at, (body, verdict, pause)): (usize, (Vec<u8>, ModeVerdict, i64))| {
            now += pause;
            event(at as u64 + 1, now, "acme", verdict, &body)
        };
        parts.into_iter().enumerate().map(event).collect()
    })
}

/// The indexes hold what the entities say, and nothing else.
fn check_indexes(views: &Views) {
    for mode in [ApiMode::Live, ApiMode::Test] {
        let state = views.state(&Realm { tenant: "acme".into(), mode });
        for connection in state.connections(None) {
            if let Some(external_id) = &connection.facts.external_id {
                assert!(state.connections_of(external_id, None).any(|it| it == connection));
            }
            for export in state.exports_of(&connection.id, None) {
                assert_eq!(export.connection_id.as_ref(), Some(&connection.id));
            }
        }
        let joined = state.exports(None).filter(|export| export.connection_id.is_some()).count();
        let indexed: usize = state.connections(None).map(|it| state.exports_of(&it.id, None).count()).sum();
        assert_eq!(joined, indexed);
    }
}

proptest! {
    #[test]
    fn the_fold_takes_any_event_and_its_views_do_not_depend_on_when_they_are_shared(
        events in events(),
        shared_after in prop::collection::vec(any::<bool>(), 80),
    ) {
        let mut undisturbed = Views::new(100);
        let mut shared = Views::new(100);
        let mut held = Vec::new();
        for (event, share) in events.iter().zip(shared_after) {
            undisturbed.advance(event);
            shared.advance(event);
            if share {
                held.push((undisturbed.position(), shared.clone()));
            }
        }
        prop_assert!(undisturbed == shared);
        prop_assert_eq!(undisturbed.position(), events.len() as u64);
        check_indexes(&shared);
        for (position, views) in held {
            let mut again = Views::new(100);
            events.iter().take_while(|event| event.position <= position).for_each(|event| again.advance(event));
            prop_assert!(again == views, "what is shared never changes");
        }
    }

    #[test]
    fn versions_grow_by_one_and_changes_join_without_gaps(events in events()) {
        let mut views = Views::new(1000);
        for event in &events {
            views.advance(event);
        }
        let mut last = std::collections::HashMap::new();
        for changes in views.changes_after(0, usize::MAX).unwrap() {
            for change in &changes.changes {
                if let crate::fold::Change::Connection { previous, current } = change {
                    let before = last.insert((current.realm.clone(), current.id.clone()), current.clone());
                    prop_assert!(before == *previous);
                    prop_assert_eq!(current.trail.version, before.map_or(1, |before| before.trail.version + 1));
                }
            }
        }
        prop_assert_eq!(last.len(), views.connection_count());
    }
}

#[test]
fn a_ring_of_odd_sizes_is_bounded_in_bytes_too() {
    let mut story = Story { views: Views::new(10_000), now: 0 };
    for number in 0..1000 {
        let scope = format!("{number}{}", "x".repeat(200_000));
        let data = json!({"org_connection_id": "c", "connection_status": "authorized", "scope": scope});
        story = story.given(&body("patient.connection_success", &data));
    }
    let kept = (0..1000).rev().take_while(|position| story.views.changes_after(*position, 1).is_some()).count();
    assert!((300..=340).contains(&kept), "64 MiB hold {kept} states of 200 KB");
}

#[test]
fn a_ring_says_when_it_no_longer_holds_what_is_asked_for() {
    let mut story = Story { views: Views::new(2), now: 0 };
    for _ in 0..4 {
        story = story.given(&attempt("authorized")).given(&body("webhook.test", &json!({})));
    }
    let positions = |after, most| {
        let changes = story.views.changes_after(after, most)?;
        Some(changes.iter().map(|changes| changes.position).collect::<Vec<_>>())
    };
    assert_eq!(positions(2, 9), None);
    assert_eq!(positions(3, 9), Some(vec![5, 7]));
    assert_eq!((positions(4, 1), positions(5, 9), positions(8, 9)), (Some(vec![5]), Some(vec![7]), Some(vec![])));
    assert_eq!(story.views.chain_at(5).map(|chain| chain[7]), Some(5));
    assert_eq!((story.views.chain_at(8).map(|chain| chain[7]), story.views.chain_at(6)), (Some(8), None));
}
