//! Tests of texts, records and lists that are far larger than Fasten's: each is kept within its bound, or written so
//! that it can be read. Knows no HTTP and no gRPC.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use super::kept::Kept;
use super::world::{CHECKPOINT_EVENTS, World};
use super::*;
use crate::event::{TEXT_BYTES_MAX, bounded};
use crate::fold::changes::record;
use crate::fold::entities::{Change, EventRef, Id, Status};

#[test]
fn a_long_text_is_its_first_part_a_mark_and_a_digest() {
    for text in ["", "short", &"x".repeat(TEXT_BYTES_MAX)] {
        assert_eq!(bounded(text), text);
    }
    let long = "\u{e9}".repeat(TEXT_BYTES_MAX);
    let cut = bounded(&long);
    assert!(cut.len() <= TEXT_BYTES_MAX && cut.len() > TEXT_BYTES_MAX - 2, "{}", cut.len());
    assert!(cut.starts_with("\u{e9}\u{e9}") && cut.contains("\u{2026}cut sha256:"));
    assert_eq!(bounded(&cut), cut, "a bounded text stays as it is");
    assert_ne!(bounded(&format!("{long}x")), cut, "other texts stay different");
}

/// Facts survive absence, so they add up. Without bounds, the connection is larger than one record can be.
#[test]
fn five_facts_of_250_kb_pass_the_ring_a_restart_and_a_rebuild() {
    let mut world = World::new();
    for name in ["external_id", "platform_type", "endpoint_id", "brand_id", "portal_id"] {
        let fact = format!("{name}{}", "x".repeat(250_000));
        let attempt = json!({"org_connection_id": "c", "connection_status": "authorized", name: fact});
        world.append_body(&body("patient.connection_success", &attempt));
    }
    let export = json!({"org_connection_id": "c", "task_id": "t", "download_link": "https://x.test/1"});
    world.append_body(&body("patient.ehi_export_success", &export));
    // The ring moves on, and a checkpoint is written.
    for n in 0..2 * CHECKPOINT_EVENTS {
        let other = json!({"org_connection_id": format!("other{n}"), "connection_status": "authorized"});
        world.append_body(&body("patient.connection_success", &other));
    }
    world.advance_clock(48 * HOUR);
    world.append_body(&body("patient.ehi_export_failed", &json!({"org_connection_id": "c", "task_id": "t"})));
    world.check();
    let mut world = world.restarted();
    world.check();
    let before = world.views();
    world.begin_rebuild();
    world.wait_until_replaced(&before);
    world.check();
    let mut world = world.killed(|_| {});
    world.check();

    let views = world.views();
    let id = format!("external_id{}", "x".repeat(250_000));
    let found: Vec<_> = views.connections_of(&Story::live(), &id, None).collect();
    assert_eq!(found.len(), 1, "the whole text finds what is kept of it");
    let facts = &found[0].1.facts;
    assert_eq!(facts.external_id.as_deref(), Some(&*bounded(&id)));
}

#[test]
fn a_long_id_finds_its_connection_and_its_history() {
    let id = "c".repeat(100_000);
    let task = "t".repeat(100_000);
    let mut world = World::new();
    for _ in 0..10 {
        let attempt = json!({"org_connection_id": id, "connection_status": "authorized"});
        world.append_body(&body("patient.connection_success", &attempt));
        world.append_body(&body("patient.ehi_export_success", &json!({"org_connection_id": id, "task_id": task})));
    }
    world.check();
    let views = world.views();
    let realm = Story::live();
    let connection = views.connection(&realm, &id).unwrap();
    assert_eq!((connection.lineage.version, connection.id.len()), (20, TEXT_BYTES_MAX));
    assert_eq!(views.moment(&realm, &id, 20).unwrap().previous.unwrap().lineage.version, 19);
    assert_eq!(views.connection_at(&realm, &id, 3, &|| false).unwrap().unwrap().lineage.version, 3);
    assert_eq!(views.export(&realm, &task).unwrap().unwrap().export.lineage.version, 10);
}

/// An export's links and stats may come from different bodies, and its record has the links before, too. So the largest
/// record has three of the largest bodies, of text that hardly compresses. It follows a frame that is nearly full.
#[test]
fn the_largest_record_fits_a_frame() {
    let mut world = World::new();
    let mut random = StdRng::seed_from_u64(3);
    let mut text = |bytes: usize| -> String {
        let printable = (' '..='~').filter(|letter| !"\\\"".contains(*letter)).collect::<Vec<_>>();
        (0..bytes).map(|_| printable[random.random_range(0..printable.len())]).collect()
    };
    let mut links = |count: usize| (0..count).map(|_| text(16_000)).collect::<Vec<_>>();
    let ready = |task: &str, fields: Value| {
        let mut data = json!({"org_connection_id": "c", "task_id": task});
        data.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let body = body("patient.ehi_export_success", &data);
        assert!(body.to_string().len() < 384 * 1024, "the door takes no larger body");
        body
    };
    let kinds: serde_json::Map<_, _> = links(23).into_iter().map(|kind| (kind, json!(1))).collect();
    world.append_body(&ready("t", json!({"stats": {"total_resources": 1, "total_by_resource_type": kinds}})));
    world.append_body(&ready("t", json!({"download_links": links(24)})));
    for _ in 0..CHECKPOINT_EVENTS {
        world.append_body(&body("webhook.test", &json!({})));
    }
    world.views();
    world.append_body(&ready("u", json!({"download_links": links(7)})));
    world.append_body(&ready("t", json!({"download_links": links(24)})));
    world.advance_clock(30 * HOUR);
    for _ in 0..2 * CHECKPOINT_EVENTS {
        world.append_body(&body("patient.ehi_export_failed", &json!({"org_connection_id": "c", "task_id": "v"})));
    }
    world.check();
    let mut world = world.restarted();
    world.check();
    let views = world.views();
    for version in 1..=3 {
        let at = [1, 2, CHECKPOINT_EVENTS + 4][version - 1];
        let then = views.export_at(&Story::live(), "t", at, &|| false).unwrap().unwrap();
        assert_eq!(then.export.lineage.version, version as u64);
    }
}

const EXPORTS: u64 = 200_000;
/// Position at which the connection of these exports is revoked.
const REVOKED_AT: Position = EXPORTS + 2;

/// Returns a fold with a connection, its exports and a revocation. After that, some exports change and others move.
fn large_connection() -> Kept {
    let mut kept = Kept::new(1000);
    let task = |number: u64| format!("{number:032x}");
    kept.fold_bodies([attempt("authorized")]);
    (0..EXPORTS).for_each(|number| kept.fold_export("c", &task(number)));
    kept.fold_bodies([revocation()]);
    (0..1000).for_each(|number| kept.fold_export("c", &task(number * 7)));
    (0..1000).for_each(|number| kept.fold_export("d", &task(number * 11)));
    kept
}

/// Checks that the record of the revocation does not grow with the exports: their state follows from it.
#[track_caller]
fn check_large_connection(views: &Views) {
    let realm = Story::live();
    let Some(changes) = views.changes_at(REVOKED_AT).unwrap() else { panic!("it changes the connection") };
    assert!(matches!(changes.changes[..], [Change::Connection { .. }]));
    let mut bytes = Vec::new();
    let origin = EventRef { position: REVOKED_AT, recorded_at: Timestamp::default() };
    record::put(&mut bytes, &origin, &realm, &changes.changes);
    assert!(bytes.len() < 100, "{} bytes", bytes.len());

    let listed = views.exports_of_at(&realm, Id::find("c"), REVOKED_AT).map(Result::unwrap);
    let listed = listed.map(|export| (Id::of(&export.task_id), export.lineage.version));
    assert!(listed.eq((0..EXPORTS).map(|number| (Id::Hex([0, number]), 1))));
    // This is before the revocation, so the walk passes its record.
    let walked = views.connection_at(&realm, "c", EXPORTS - 3000, &|| false).unwrap().unwrap();
    assert_eq!((walked.lineage.version, walked.status), (EXPORTS - 3000, Status::Authorized));
}

#[test]
fn changes_stay_small_and_lists_whole_with_200_000_exports() {
    let mut kept = large_connection();
    check_large_connection(&kept.fold.publish());
    check_large_connection(&kept.restarted().fold.publish());
    let mut rebuilt = large_connection();
    check_large_connection(&rebuilt.fold.publish());
}
