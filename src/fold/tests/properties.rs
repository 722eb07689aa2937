//! Tests of properties for all events: the fold is total, a step is a pure function, and views do not depend on when
//! they are shared. Knows only the fold.

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;

use super::reference::held;
use super::*;
use crate::fold::changes::record;
use crate::fold::entities::{Change, EventRef, Id};
use crate::storage::Take;

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let any = any::<String>().prop_map(Value::from);
    let number = prop_oneof![Just(json!(7)), Just(json!(-7)), Just(json!(7.5))];
    prop_oneof![14 => prop::sample::select(words).prop_map(Value::from), 1 => any, 1 => Just(Value::Null), 1 => number]
}

type Field = (String, Value);

/// Returns a field that is not always present.
fn now_and_then(name: &'static str, value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Field>> {
    prop::option::weighted(0.8, value.prop_map(move |value| (name.to_owned(), value))).boxed()
}

fn link() -> impl Strategy<Value = Value> {
    let url = || word(&["https://x.test/1", "https://x.test/2", "https://x.test/3", ""]);
    let object = (url(), word(&["jsonl", ""]), word(&["application/fhir+ndjson", ""]))
        .prop_map(|(url, export, content)| json!({"url": url, "export_type": export, "content_type": content}));
    prop_oneof![2 => url(), 2 => object, 1 => any::<u8>().prop_map(Value::from)]
}

fn links() -> impl Strategy<Value = Value> {
    prop_oneof![link(), prop::collection::vec(link(), 0..4).prop_map(Value::from)]
}

fn stats() -> impl Strategy<Value = Value> {
    let count = || prop_oneof![4 => any::<u16>().prop_map(Value::from), 1 => any::<f64>().prop_map(Value::from)];
    let by_type = prop::collection::btree_map("Patient|Observation|Condition|", count(), 0..4);
    (count(), prop::option::of(by_type))
        .prop_map(|(total, by_type)| json!({"total_resources": total, "total_by_resource_type": by_type}))
}

// Ids are opaque: case and dashes make them different.
const CONNECTIONS: &[&str] = &[
    "c1",
    "c1",
    "c1",
    "a1b2c3d4-0000-4000-8000-000000000001",
    "a1b2c3d4-0000-4000-8000-000000000001",
    "A1B2C3D4-0000-4000-8000-000000000001",
    "",
];
const TASKS: &[&str] = &[
    "t1",
    "t1",
    "t1",
    "00c9aa11bb22cc33dd44ee55ff660077",
    "00c9aa11bb22cc33dd44ee55ff660077",
    "00c9aa11-bb22-cc33-dd44-ee55ff660077",
    "",
];
const STATUSES: &[&str] = &["authorized", "authorized", "rejected", "revoked", "connected", "Authorized", "paused", ""];

/// Dates of deliveries: within the days in which these events are recorded, and far off.
const DATES: &[&str] = &[
    "1970-01-01T12:00:00Z",
    "1970-01-02T00:00:00Z",
    "1970-01-03T00:00:00Z",
    "1970-01-06T06:00:00Z",
    "1970-01-09T00:00:00Z",
    "1970-02-01T00:00:00Z",
    "1969-12-01T00:00:00Z",
    "2026-05-04T14:03:11Z",
    "yesterday",
    "",
];

/// All fields that Fasten reports of connections and exports. They have few values, so that events meet each other.
fn data() -> impl Strategy<Value = Value> {
    let words: [(&'static str, &'static [&'static str]); 16] = [
        ("org_connection_id", CONNECTIONS),
        ("task_id", TASKS),
        ("connection_status", STATUSES),
        ("external_id", &["x1", "x2", ""]),
        ("platform_type", &["epic", "tefca", ""]),
        ("endpoint_id", &["e1", "e2", ""]),
        ("brand_id", &["b1", "b2", ""]),
        ("portal_id", &["p1", "p2", ""]),
        ("tefca_directory_id", &["d1", "d2", ""]),
        ("org_id", &["o1", "o2", ""]),
        ("request_id", &["r1", "r2", ""]),
        ("request-id", &["r3", ""]),
        ("external_state", &["s1", "s2", ""]),
        ("scope", &["patient/*.read", "openid", ""]),
        (
            "consent_expires_at",
            &["2026-08-04T00:00:00Z", "2026-08-04T02:00:00.5+02:00", "0000-12-31T23:59:59Z", "soon", ""],
        ),
        ("failure_reason", &["token_refresh_failure", "resource_patient_failure", ""]),
    ];
    let mut fields: Vec<_> = words.into_iter().map(|(name, words)| now_and_then(name, word(words))).collect();
    fields.push(now_and_then("download_links", links()));
    fields.push(now_and_then("download_link", links()));
    fields.push(now_and_then("stats", prop_oneof![3 => stats(), 1 => link()]));
    fields.prop_map(|fields| fields.into_iter().flatten().collect())
}

/// Bodies of every type, nested and flat, odd now and then.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let kinds = word(&[
        "patient.connection_success",
        "patient.connection_success",
        "patient.authorization_revoked",
        "patient.authorization_revoked",
        "patient.ehi_export_success",
        "patient.ehi_export_success",
        "patient.ehi_export_failed",
        "patient.ehi_export_failed",
        "patient.something_new",
        "patient.request_support",
        "patient.request_health_system",
        "webhook.test",
    ]);
    let spelling = prop_oneof![4 => Just("type"), 1 => Just("event_type")];
    let date = now_and_then("date", word(DATES));
    (kinds, spelling, data(), date, prop::bool::weighted(0.2)).prop_map(|(kind, spelling, data, date, flat)| {
        let mut body = if flat { data } else { json!({"data": data}) };
        body[spelling] = kind;
        if let Some((name, date)) = date {
            body[name] = date;
        }
        serde_json::to_vec(&body).unwrap()
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
        10 => plausible(),
        1 => any_json().prop_map(|value| serde_json::to_vec(&value).unwrap()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// Pauses around the day that links live for.
fn pauses() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0..2 * HOUR, 2 => 0..30 * HOUR, 1 => Just(0), 3 => Just(24 * HOUR), 1 => 24 * HOUR..100 * HOUR]
}

type Part = ((Vec<u8>, &'static str, ModeVerdict), Provenance, bool, i64);

pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    let verdict = prop_oneof![
        12 => Just(ModeVerdict::Live),
        2 => Just(ModeVerdict::Test),
        1 => Just(ModeVerdict::Mismatched),
        1 => Just(ModeVerdict::Unknown),
    ];
    let tenant = prop_oneof![6 => Just("acme"), 1 => Just("other")];
    let provenance =
        prop_oneof![6 => Just(Provenance::Webhook), 3 => Just(Provenance::Import), 1 => Just(Provenance::Local)];
    let conflict = prop::bool::weighted(0.05);
    prop::collection::vec(((bodies(), tenant, verdict), provenance, conflict, pauses()), 0..80).prop_map(|parts| {
        let mut now = 0;
        let event = |(at, ((body, tenant, verdict), provenance, conflict, pause)): (usize, Part)| {
            now += pause;
            let mut event = event(at as u64 + 1, now, tenant, verdict, &body);
            event.delivery.provenance = provenance;
            event.conflict_of = conflict.then_some(1);
            event
        };
        parts.into_iter().enumerate().map(event).collect()
    })
}

/// All realms that [`events`] touch.
pub(super) fn realms() -> impl Iterator<Item = Realm> {
    let modes = [ApiMode::Live, ApiMode::Test];
    ["acme", "other"].into_iter().flat_map(move |tenant| modes.map(|mode| Realm { tenant: tenant.into(), mode }))
}

/// Checks that the indexes hold exactly the relations that the entities have.
fn check_indexes(views: &Views) {
    for realm in realms() {
        let of = |owner: &Id| {
            let members = views.exports_of(&realm, owner.clone(), None);
            let joined = members.map(|(task_id, member)| views.join(&realm, &task_id, &member.slot).unwrap());
            let owned = joined.filter(|joined| joined.export.owner() == *owner);
            owned.map(|joined| joined.export.task_id.clone()).collect::<Vec<_>>()
        };
        let mut indexed = of(&Id::Empty);
        for (id, connection) in views.connections(&realm, None) {
            if let Some(external_id) = &connection.facts.external_id {
                assert!(views.connections_of(&realm, external_id, None).any(|(_, found)| found == connection));
            }
            indexed.extend(of(&id));
        }
        indexed.sort();
        assert!(indexed.into_iter().eq(views.exports(&realm, None).map(|(task_id, _)| task_id.text())));
    }
}

proptest! {
    #[test]
    fn fold_takes_any_event_and_views_do_not_depend_on_readers(
        events in events(),
        publish_after in prop::collection::vec(any::<bool>(), 80),
        drop_after in prop::collection::vec(any::<bool>(), 80),
    ) {
        let mut undisturbed = Fold::new(100);
        let mut observed = Fold::new(100);
        let mut views = Vec::new();
        for ((event, is_published), is_dropped) in events.iter().zip(publish_after).zip(drop_after) {
            undisturbed.advance(event).unwrap();
            observed.advance(event).unwrap();
            if is_published {
                views.push(observed.publish());
            }
            if is_dropped && !views.is_empty() {
                views.remove(views.len() / 2);
            }
        }
        let last = observed.publish();
        prop_assert!(held(&undisturbed.publish()) == held(&last));
        prop_assert_eq!(last.position(), events.len() as u64);
        check_indexes(&last);
        for views in views {
            check_indexes(&views);
            let mut again = Fold::new(100);
            for event in &events[..usize::try_from(views.position()).unwrap()] {
                again.advance(event).unwrap();
            }
            prop_assert!(held(&again.publish()) == held(&views), "published views never change");
        }
        drop(last);
        for _ in 0..8 {
            drop(observed.publish());
        }
        prop_assert_eq!(observed.kept_versions(), 0, "versions without a reader are dropped");
    }

    #[test]
    fn changes_are_read_from_their_record_as_they_were_put(events in events()) {
        let mut fold = Fold::new(1000);
        for event in &events {
            fold.advance(event).unwrap();
        }
        // Descriptions of connections in records, by position. Other records refer to them.
        let described: RefCell<HashMap<_, Arc<Connection>>> = RefCell::new(HashMap::new());
        let describe = |connection: &mut Connection| {
            connection.describe_as(&described.borrow()[&(connection.id.clone(), connection.described_at.0)]);
            Ok(())
        };
        for changes in fold.publish().changes_after(0, usize::MAX).unwrap().changes {
            let recorded_at = events[usize::try_from(changes.position).unwrap() - 1].recorded_at;
            let origin = EventRef { position: changes.position, recorded_at };
            let mut bytes = Vec::new();
            record::put(&mut bytes, &origin, &changes.realm, &changes.changes);
            let mut from = Take(&bytes);
            let (realm, taken) = record::take(&mut from, &origin, &describe).unwrap();
            prop_assert!(from.0.is_empty() && realm == changes.realm && taken == changes.changes);
            for cut in 0..bytes.len() {
                prop_assert!(record::take(&mut Take(&bytes[..cut]), &origin, &describe).is_err(), "cut at {}", cut);
            }
            let (_, undescribed) = record::take(&mut Take(&bytes), &origin, &|_| Ok(())).unwrap();
            for change in undescribed {
                if let Change::Connection { current, .. } = change {
                    described.borrow_mut().insert((current.id.clone(), changes.position), current);
                }
            }
        }
    }

    #[test]
    fn versions_grow_by_one_and_changes_join_without_gaps(events in events()) {
        let mut fold = Fold::new(1000);
        for event in &events {
            fold.advance(event).unwrap();
        }
        let views = fold.publish();
        let mut last = HashMap::new();
        for changes in views.changes_after(0, usize::MAX).unwrap().changes {
            for change in &changes.changes {
                if let Change::Connection { previous, current } = change {
                    let before = last.insert((current.realm.clone(), current.id.clone()), current.clone());
                    prop_assert!(before == *previous);
                    prop_assert_eq!(current.lineage.version, before.map_or(1, |before| before.lineage.version + 1));
                }
            }
        }
        prop_assert_eq!(last.len(), views.connection_count());
    }
}

#[test]
fn a_ring_of_odd_sizes_is_bounded_in_bytes_too() {
    let mut story = Story::with_ring(10_000);
    for number in 0..1000 {
        let links: Vec<_> = (0..20).map(|link| format!("{number}/{link}/{}", "x".repeat(10_000))).collect();
        let data = json!({"task_id": "t", "download_links": links});
        story = story.given(&body("patient.ehi_export_success", &data));
    }
    let kept = (0..1000).rev().take_while(|position| story.views.floor() <= *position).count();
    assert!((300..=340).contains(&kept), "64 MiB hold {kept} states of 200 KB");
}

#[test]
fn a_ring_says_when_it_no_longer_holds_what_is_asked_for() {
    let mut story = Story::with_ring(2);
    for _ in 0..4 {
        story = story.given(&attempt("authorized")).given(&body("webhook.test", &json!({})));
    }
    let positions = |after, most| {
        let stretch = story.views.changes_after(after, most).ok()?;
        let positions = stretch.changes.iter().map(|changes| changes.position);
        Some((positions.collect::<Vec<_>>(), stretch.through.position, stretch.through.chain[7]))
    };
    assert_eq!(positions(2, 9), None);
    assert_eq!((positions(3, 9), positions(4, 1)), (Some((vec![5, 7], 8, 8)), Some((vec![5], 5, 5))));
    assert_eq!((positions(5, 9), positions(8, 9)), (Some((vec![7], 8, 8)), Some((vec![], 8, 8))));
    assert_eq!(story.views.cursor_at(5).map(|cursor| cursor.chain[7]), Some(5));
    assert_eq!((story.views.cursor_at(8).map(|cursor| cursor.chain[7]), story.views.cursor_at(6)), (Some(8), None));
}
