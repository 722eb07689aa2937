//! Tests of a start with any state of the views' files: it resumes from a good checkpoint, or derives the views from
//! scratch. Uses a real log.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::reference::held;
use super::world::{CHECKPOINT_EVENTS, Stall, World, copy_all, names};
use super::*;
use crate::segment::ReadError;

/// Appends `count` events: `count / 2` connections with an export each, an hour apart.
fn grow(world: &World, from: u64, count: u64) {
    for n in from..from + count / 2 {
        world.advance_clock(HOUR);
        let id = format!("c{n}");
        let task = format!("t{n}");
        let attempt = json!({"org_connection_id": id, "connection_status": "authorized", "external_id": "x"});
        world.append_body(&body("patient.connection_success", &attempt));
        let export = json!({"org_connection_id": id, "task_id": task, "download_link": "https://x.test/1"});
        world.append_body(&body("patient.ehi_export_success", &export));
    }
}

/// Returns a world with two checkpoints, and a few events after them.
fn grown() -> World {
    let world = World::new();
    grow(&world, 0, 100);
    let world = world.restarted();
    grow(&world, 50, CHECKPOINT_EVENTS);
    let mut world = world.restarted();
    grow(&world, 60, 4);
    world.check();
    assert_eq!((world.generation(), checkpoints(&world.directory.path().join("views")).len()), (1, 2));
    world
}

/// Returns the checkpoints, the older one first.
fn checkpoints(views: &Path) -> Vec<PathBuf> {
    let names = names(&views.join("1")).into_iter().filter(|name| name.ends_with(".checkpoint"));
    names.map(|name| views.join("1").join(name)).collect()
}

/// Returns the files of the change log.
fn segments(views: &Path) -> Vec<PathBuf> {
    let changes = views.join("1/changes");
    names(&changes).into_iter().map(|name| changes.join(name)).collect()
}

fn change(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_start_goes_on_from_the_newest_checkpoint() {
    let mut world = grown().killed(|_| {});
    world.check();
    assert_eq!(world.generation(), 1);
}

#[test]
fn a_checkpoint_that_is_damaged_or_gone_leaves_the_one_before() {
    let harms: [&dyn Fn(&Path); 4] = [
        &|views| fs::remove_file(&checkpoints(views)[1]).unwrap(),
        // The version of the fold, the position, an entity.
        &|views| change(&checkpoints(views)[1], 5),
        &|views| change(&checkpoints(views)[1], 45),
        &|views| change(&checkpoints(views)[1], 150),
    ];
    for harm in harms {
        let mut world = grown().killed(harm);
        world.check();
        assert_eq!(world.generation(), 1);
    }
}

#[test]
fn views_without_a_fitting_checkpoint_are_rebuilt_from_the_log() {
    let harms: [&dyn Fn(&Path); 5] = [
        &|views| fs::remove_dir_all(views).unwrap(),
        &|views| checkpoints(views).iter().for_each(|path| fs::remove_file(path).unwrap()),
        &|views| checkpoints(views).iter().for_each(|path| change(path, 5)),
        &|views| fs::remove_dir_all(views.join("1/changes")).unwrap(),
        &|views| change(&segments(views)[0], 3),
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let mut world = grown().killed(harm);
        world.check();
        // If nothing useful is left in the first generation, its number is free again.
        assert_eq!(world.generation(), if number < 2 { 1 } else { 2 }, "harm {number}");
        world.restarted().check();
    }
}

/// An upgrade to another version of the fold, and a downgrade after it.
#[test]
fn old_generation_is_kept_until_the_new_has_a_head_checkpoint() {
    let of_another_version = |views: &Path| checkpoints(views).iter().for_each(|path| change(path, 5));
    let mut world = grown().killed_to_save_nothing(of_another_version);
    world.check();
    let views = world.directory.path().join("views");
    assert_eq!((names(&views), checkpoints(&views).len()), (vec!["1".to_owned(), "2".to_owned()], 2));
    assert!(!segments(&views).is_empty());

    let mut downgraded = world.killed(of_another_version);
    downgraded.check();
    assert_eq!(names(&downgraded.directory.path().join("views")), ["1"]);

    let mut upgraded = downgraded.killed(of_another_version);
    upgraded.check();
    let upgraded = upgraded.restarted();
    assert_eq!(names(&upgraded.directory.path().join("views")), ["2"]);
}

#[test]
fn an_older_generation_goes_while_events_keep_coming() {
    let world = grown().killed(|views| checkpoints(views).iter().for_each(|path| change(path, 5)));
    let views = world.directory.path().join("views");
    let is_gone = (0..500).any(|number| {
        grow(&world, 1000 + number, 2);
        names(&views) == ["2"]
    });
    assert!(is_gone, "{:?}", names(&views));
    let mut world = world.restarted();
    world.check();
    assert_eq!(world.generation(), 2);
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_tried_again() {
    let mut world = World::new();
    world.wait_until_following();
    let generation = world.directory.path().join("views/1");
    let blocked = |position: u64| generation.join(format!("{position:020}.new"));
    // Directories have the temporary names, so no file can be created there.
    (1..=100).for_each(|position| fs::create_dir(blocked(position)).unwrap());
    for from in 0..10 {
        grow(&world, from * 5, 10);
        world.views();
    }
    assert!(checkpoints(&world.directory.path().join("views")).is_empty(), "none can be written");
    (1..=100).for_each(|position| fs::remove_dir(blocked(position)).unwrap());
    for from in 100..110 {
        grow(&world, from * 5, 10);
        world.views();
    }
    world.check();
    assert!(!checkpoints(&world.directory.path().join("views")).is_empty());
    assert_eq!(world.phase(), crate::fold::projector::ProjectionPhase::Following);
}

/// Replaces each file by a directory, which the system refuses to read. Returns where the files are now.
fn refuse(files: &[PathBuf]) -> Vec<PathBuf> {
    let aside = files.iter().map(|file| {
        let aside = file.with_extension("aside");
        fs::rename(file, &aside).unwrap();
        fs::create_dir(file).unwrap();
        aside
    });
    aside.collect()
}

#[test]
fn checkpoint_with_read_error_is_kept_and_the_one_before_used() {
    let mut aside = Vec::new();
    let mut world = grown().killed(|views| aside = refuse(&checkpoints(views)[1..]));
    world.check();
    assert!(world.generation() == 1 && aside[0].exists());
    // A checkpoint that cannot be removed does not keep others from coming and going, either.
    for number in 1..=4 {
        grow(&world, 1000 * number, CHECKPOINT_EVENTS);
        world = world.restarted();
        world.check();
    }
    assert_eq!(checkpoints(&world.directory.path().join("views")).len(), 3);
}

#[test]
fn checkpoints_with_read_errors_are_named_and_kept() {
    let mut found = Vec::new();
    let mut aside = Vec::new();
    let mut world = grown().killed(|views| {
        found = checkpoints(views);
        aside = refuse(&found);
    });
    let Stall { position, reason, is_log_damage } = world.wait_until_stalled();
    let newest = found[1].file_name().unwrap().to_str().unwrap();
    assert!(reason.contains(&format!("views/1/{newest}")) && position == 1 && !is_log_damage, "{position}: {reason}");
    for (found, aside) in found.iter().zip(&aside) {
        fs::remove_dir(found).unwrap();
        fs::rename(aside, found).unwrap();
    }
    world.wait_until_following();
    world.check();
    assert_eq!(world.generation(), 1);
}

#[test]
fn a_half_written_checkpoint_is_swept() {
    let mut world = grown().killed(|views| fs::write(views.join("1/00000000000000000999.new"), b"half").unwrap());
    world.check();
    let left = names(&world.directory.path().join("views/1"));
    assert!(!left.contains(&"00000000000000000999.new".to_owned()), "{left:?}");
}

#[test]
fn a_foreign_or_too_short_change_log_is_not_used() {
    let early = World::new();
    grow(&early, 0, CHECKPOINT_EVENTS);
    let early = early.restarted();
    let other = World::new();
    grow(&other, 1000, 140);
    let other = other.restarted();
    for strange in [early, other] {
        let strange = strange.killed(|_| {});
        let mut world = grown().killed(|views| {
            fs::remove_dir_all(views.join("1/changes")).unwrap();
            copy_all(&strange.directory.path().join("views/1/changes"), &views.join("1/changes")).unwrap();
        });
        world.check();
        assert_eq!(world.generation(), 2);
    }
}

#[test]
fn foreign_checkpoint_is_unused_and_one_ahead_is_log_damage() {
    let longer = grown().killed(|_| {});
    let mut shorter = World::new();
    grow(&shorter, 0, 40);
    shorter.views();
    let replace = |views: &Path| {
        fs::remove_dir_all(views).unwrap();
        copy_all(&longer.directory.path().join("views"), views).unwrap();
    };
    let Stall { reason, is_log_damage, .. } = shorter.killed(replace).wait_until_stalled();
    assert!(is_log_damage && reason.starts_with("the log ends at 40, before position 1"), "{reason}");
    let other = World::new();
    grow(&other, 1000, 140);
    let mut other = other.killed(replace);
    other.check();
    assert_eq!(other.generation(), 2);
}

#[test]
fn damage_in_the_change_log_is_made_good_from_the_log() {
    let mut world = grown().killed(|views| {
        for path in segments(views) {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    });
    change_settled_export(&world);
    world.check();
}

/// Changes an export whose previous state the fold has to read.
fn change_settled_export(world: &World) {
    let failed = json!({"org_connection_id": "c1", "task_id": "t1"});
    world.append_body(&body("patient.ehi_export_failed", &failed));
}

#[test]
fn views_serve_until_those_that_are_made_again_have_come_as_far() {
    let mut world = grown();
    let old = world.views();
    let before = old.position();
    damage_changes(&world);
    let views = world.projection.views.clone();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let views = views.borrow().clone();
                assert!(views.is_readable() && views.position() >= before, "at {}", views.position());
            }
        });
        change_settled_export(&world);
        world.check();
        is_over.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
    });
    assert!(!Arc::ptr_eq(&world.views().shared, &old.shared), "they were made again");
    world.restarted().check();
}

#[test]
fn damage_met_only_by_a_reader_is_made_good_from_the_log() {
    let mut world = grown();
    let realm = Realm { tenant: "acme".into(), mode: ApiMode::Live };
    let old = world.views();
    let settled = |views: &Views| views.export(&realm, "t1").map(|export| export.is_some());
    assert!(settled(&old).unwrap());
    damage_changes(&world);
    assert!(matches!(settled(&old), Err(ReadError::Damaged { .. })));
    world.wait_until_replaced(&old);
    assert!(settled(&world.views()).unwrap() && world.phase() == crate::fold::projector::ProjectionPhase::Following);
    world.check();
    world.restarted().check();
}

/// A checkpoint has to read an export that once moved, to find its owner. The fold itself need not read it.
#[test]
fn damage_met_only_by_a_checkpoint_is_made_good_from_the_log() {
    let mut world = World::new();
    let ready = |fields: Value| body("patient.ehi_export_success", &fields);
    world.append_body(&ready(json!({"task_id": "t", "download_link": "https://x.test/1"})));
    world.append_body(&ready(json!({"task_id": "t", "org_connection_id": "c", "download_link": "https://x.test/1"})));
    world.advance_clock(48 * HOUR);
    grow(&world, 0, 2 * CHECKPOINT_EVENTS);
    let old = world.views();
    damage_changes(&world);
    grow(&world, 100, 4 * CHECKPOINT_EVENTS);
    world.wait_until_replaced(&old);
    world.check();
    world.restarted().check();
}

fn damage_changes(world: &World) {
    damage_changes_of(world, "1");
}

/// Damages each frame, also for readers that have the files open. Leaves out files that are removed meanwhile.
fn damage_changes_of(world: &World, generation: &str) {
    let changes = world.directory.path().join("views").join(generation).join("changes");
    for entry in fs::read_dir(changes).into_iter().flatten() {
        let path = entry.unwrap().path();
        let Ok(mut bytes) = fs::read(&path) else { continue };
        bytes.iter_mut().skip(150).step_by(97).for_each(|byte| *byte ^= 1);
        // A removed file must not come back.
        if let Ok(mut file) = fs::OpenOptions::new().write(true).open(&path) {
            file.write_all(&bytes).unwrap();
        }
    }
}

#[test]
fn rebuilt_views_replace_the_serving_ones_and_survive_a_restart() {
    let mut world = grown();
    let old = world.views();
    world.begin_rebuild();
    world.wait_until_replaced(&old);
    world.check();
    assert!(held(&old) == held(&world.views()), "and who looks at the old views still can");
    grow(&world, 70, 10);
    world.check();
    drop(old);
    let mut world = world.restarted();
    world.check();
    assert_eq!(world.generation(), 2);
}

/// Ends a thread, also if its test fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn rebuild_requests_while_views_are_remade_harm_nothing() {
    let mut world = grown();
    let rebuild = world.rebuild.clone();
    let is_over = AtomicBool::new(false);
    let mut replaced = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                rebuild.start().unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let ending = Ending(&is_over);
        for number in 0..20 {
            let old = world.views();
            for generation in names(&world.directory.path().join("views")) {
                damage_changes_of(&world, &generation);
            }
            grow(&world, 200 + number, 2);
            change_settled_export(&world);
            replaced += usize::from(!Arc::ptr_eq(&world.views().shared, &old.shared));
        }
        drop(ending);
    });
    assert!(replaced >= 10, "{replaced}");
    let old = world.views();
    world.begin_rebuild();
    world.wait_until_replaced(&old);
    world.check();
    let mut world = world.restarted();
    world.check();
    let left = names(&world.directory.path().join("views"));
    assert!(left.len() <= 2, "{left:?}");
}

/// Rebuilds while no file can be created under the name of the new checkpoint. Returns false if the checkpoint was
/// created before that.
fn rebuild_unsaved(world: &mut World, number: u64) -> bool {
    let old = world.views();
    let made = world.directory.path().join("views").join(number.to_string());
    let block = made.join(format!("{:020}.new", old.position()));
    let blocker = std::thread::spawn(move || while fs::create_dir(&block).is_err() {});
    world.begin_rebuild();
    blocker.join().unwrap();
    loop {
        if !Arc::ptr_eq(&world.views().shared, &old.shared) {
            return false;
        }
        if !made.exists() {
            return true;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_rebuild_that_cannot_be_saved_leaves_what_serves() {
    let mut world = grown();
    assert!((2..20).any(|number| rebuild_unsaved(&mut world, number)), "every checkpoint was saved before");
    assert_eq!(world.phase(), crate::fold::projector::ProjectionPhase::Following);
    grow(&world, 70, 10);
    world.check();
}
