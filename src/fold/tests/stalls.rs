//! Tests of an event that the fold cannot apply: the log goes on without the views, and the views go on once they can.
//! Uses a real log.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::world::{Stall, World};
use super::*;
use crate::fold::projector::ProjectionPhase;

/// The fold panics at an event of this connection while the flag is set.
const PLANTED: &str = "the fold panics here";
static IS_PLANTED: AtomicBool = AtomicBool::new(true);

pub(in crate::fold) fn panic_if_planted(connection_id: Option<&str>) {
    assert!(connection_id != Some(PLANTED) || !IS_PLANTED.load(Ordering::SeqCst), "planted");
}

fn connect(world: &World, id: &str) {
    let attempt = json!({"org_connection_id": id, "connection_status": "authorized"});
    world.append_body(&body("patient.connection_success", &attempt));
}

#[test]
fn a_fold_that_panics_at_an_event_stalls_until_it_can_go_on() {
    let mut world = World::new();
    for number in 0..100 {
        connect(&world, &format!("c{number}"));
    }
    connect(&world, PLANTED);
    let stall = Stall { position: 101, reason: "the fold panicked".to_owned(), is_log_damage: false };
    assert_eq!(world.wait_until_stalled(), stall);
    // The views in that time are not the state.
    world.wait_until_unreadable();
    for number in 100..200 {
        connect(&world, &format!("c{number}"));
    }
    assert!(matches!(world.phase(), ProjectionPhase::Stalled { position: 101, .. }), "the log has 201 events by now");

    // A stop does not wait for the fold, and the next start stalls at the same event.
    let mut world = world.restarted();
    assert_eq!(world.wait_until_stalled().position, 101);
    IS_PLANTED.store(false, Ordering::SeqCst);
    world.wait_until_following();
    world.check();
    assert_eq!(world.views().position(), 201);
}
