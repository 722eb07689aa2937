//! Tests of the change log while it is written, when it is opened again, and on a disk that fails. Only the test of
//! dispositions uses a log.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::world::{CHECKPOINT_EVENTS, World};
use super::*;
use crate::event::{Cursor, Hash, Identity, Point};
use crate::fold::changes::{ChangeLog, Disposition, Recorded, Recorder};
use crate::fold::entities::{Change, EventRef, PositionChanges};
use crate::fold::state::RestoredState;
use crate::segment::ReadError;
use crate::storage::StoreError;

const IDENTITY: Identity = Identity { log_id: 7, epoch: 8 };
const GENESIS: Hash = [3; 32];
const SEGMENT_BYTES: u64 = 8 * 1024;

fn open(directory: &Path) -> Arc<ChangeLog> {
    Arc::new(ChangeLog::open(directory, IDENTITY, GENESIS, 0).unwrap())
}

fn recorder(log: &Arc<ChangeLog>) -> Recorder {
    Recorder::new(log.clone(), SEGMENT_BYTES).unwrap()
}

fn chain(position: Position) -> Hash {
    let mut chain = [0; 32];
    chain[..8].copy_from_slice(&position.to_be_bytes());
    chain
}

/// Returns the fold's result for each position up to `last`. Every third event changes nothing.
fn story(last: Position) -> Vec<Recorded> {
    let mut story = Story::with_ring(usize::MAX);
    for position in 1..=last {
        let id = format!("c{}", position % 7);
        let attempt =
            json!({"org_connection_id": id, "connection_status": "authorized", "request_id": position.to_string()});
        let body = if position % 3 == 0 {
            body("webhook.test", &json!({}))
        } else {
            body("patient.connection_success", &attempt)
        };
        story = story.given(&body);
    }
    let recorded = |position| {
        let changes = story.views.changes_at(position).unwrap();
        let changes = changes.map(|changes| Arc::new(PositionChanges { chain: [9; 8], ..(*changes).clone() }));
        let recorded_at = Timestamp::from_micros(position.cast_signed() * 1_000_000);
        let disposition = if changes.is_some() { Disposition::Applied } else { Disposition::NoEntity };
        Recorded { event: EventRef { position, recorded_at }, chain: chain(position), disposition, changes }
    };
    (1..=last).map(recorded).collect()
}

fn record(recorder: &mut Recorder, story: &[Recorded]) -> Result<(), StoreError> {
    let next = usize::try_from(recorder.next()).unwrap();
    story[next - 1..].iter().try_for_each(|recorded| recorder.record(recorded.clone(), 1000))
}

/// Checks that the log holds this part of a story, by position and by stretch.
#[track_caller]
fn check(log: &ChangeLog, story: &[Recorded]) {
    let describe = |connection: &mut Connection| {
        let described = &story[usize::try_from(connection.described_at.0).unwrap() - 1].changes;
        let Change::Connection { current, .. } = &described.as_ref().unwrap().changes[0] else { panic!() };
        connection.describe_as(current);
        Ok(())
    };
    for recorded in story {
        assert_eq!(log.at(recorded.event.position, &describe).unwrap(), recorded.changes.as_deref().cloned());
    }
    let last = story.len() as Position;
    let count_max = 100;
    let mut after = 0;
    let mut found = Vec::new();
    while after < last {
        let stretch = log.between(after, Cursor { position: last, chain: [1; 8] }, count_max, &describe).unwrap();
        assert!(stretch.through.position > after && stretch.changes.len() <= count_max);
        let is_found = stretch.changes.last().is_some_and(|last| last.position == stretch.through.position);
        let is_end = stretch.through.position == last;
        let chain = chain(stretch.through.position);
        assert!(
            is_found || is_end && stretch.through.chain == [1; 8] || stretch.through.chain == chain[..8],
            "{:?}",
            stretch.through
        );
        after = stretch.through.position;
        found.extend(stretch.changes);
    }
    let expected = story.iter().filter_map(|recorded| recorded.changes.clone());
    assert!(found.into_iter().eq(expected), "a stretch skips or repeats");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn recorded_frames_are_read_once_written_and_all_after_a_sync() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    let story = story(3000);
    let mut recorder = recorder(&log);
    record(&mut recorder, &story[..100]).unwrap();
    assert_eq!((recorder.next(), recorder.next_unwritten(), log.end()), (101, 1, (0, GENESIS)));
    recorder.sync().unwrap();
    assert_eq!((recorder.next_unwritten(), log.end()), (101, (100, chain(100))));
    check(&log, &story[..100]);
    record(&mut recorder, &story).unwrap();
    while recorder.next_unwritten() < 2500 {
        std::thread::yield_now();
    }
    let written = usize::try_from(recorder.next_unwritten() - 1).unwrap();
    check(&log, &story[..written]);
    recorder.sync().unwrap();
    check(&log, &story);
    assert!(files(directory.path()).len() > 2, "several segments are full");
}

#[test]
fn a_connection_is_described_from_the_log_and_then_from_memory() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    let story = story(300);
    let mut recorder = recorder(&log);
    record(&mut recorder, &story).unwrap();
    recorder.sync().unwrap();
    let describe = |wanted: &Connection, id: &Arc<str>| {
        let blank = Connection::new(&wanted.realm, id, wanted.lineage);
        let mut connection = Connection { described_at: wanted.described_at, ..blank };
        log.describe(&mut connection).map(|is_described| is_described.then_some(connection))
    };
    let recorded = || story.iter().filter_map(|recorded| recorded.changes.as_ref());
    let connections = || recorded().flat_map(|changes| &changes.changes);
    let check = || {
        for change in connections() {
            let Change::Connection { current, .. } = change else { panic!() };
            let described = describe(current, &current.id).unwrap().unwrap();
            assert!(described.attempt == current.attempt && described.facts == current.facts);
            assert!(describe(current, &"another".into()).unwrap().is_none());
        }
    };
    check();
    for file in files(directory.path()) {
        OpenOptions::new().write(true).open(file).unwrap().write_all_at(&[0xff; 8 * 1024], 0).unwrap();
    }
    for change in connections() {
        let Change::Connection { current, .. } = change else { panic!() };
        assert!(describe(current, &current.id).unwrap().unwrap().attempt == current.attempt);
        assert!(describe(current, &"another".into()).is_err(), "no memory has it, and the file is gone");
    }
}

#[test]
fn a_change_log_goes_on_where_it_ended() {
    let directory = TempDir::new().unwrap();
    let story = story(1500);
    for last in [1, 2, 300, 301, 900, 1500] {
        let log = open(directory.path());
        let mut recorder = recorder(&log);
        record(&mut recorder, &story[..last]).unwrap();
        recorder.sync().unwrap();
        check(&log, &story[..last]);
    }
    let log = open(directory.path());
    assert_eq!(log.end(), (1500, chain(1500)));
    check(&log, &story);
    assert!(
        ChangeLog::open(directory.path(), Identity { epoch: 9, ..IDENTITY }, GENESIS, 0).is_err(),
        "another epoch's"
    );
}

/// Cuts the growing file at every 41st byte, or flips a bit there. The log then holds a beginning of the story, and
/// continues from it.
#[test]
fn a_torn_or_damaged_end_is_cut_off_and_recorded_again() {
    let original = TempDir::new().unwrap();
    let story = story(120);
    let mut recorder = recorder(&open(original.path()));
    for last in (20..=120).step_by(20) {
        record(&mut recorder, &story[..last]).unwrap();
        recorder.sync().unwrap();
    }
    drop(recorder);
    let [growing] = &files(original.path())[..] else { panic!("one file") };
    let bytes = fs::read(growing).unwrap();
    for at in (0..bytes.len()).step_by(41) {
        for is_flipped in [false, true] {
            let directory = TempDir::new().unwrap();
            let mut harmed = bytes.clone();
            if is_flipped {
                harmed[at] ^= 0x10;
            } else {
                harmed.truncate(at);
            }
            fs::write(directory.path().join(growing.file_name().unwrap()), harmed).unwrap();
            let log = open(directory.path());
            let (end, _) = log.end();
            assert!(end % 20 == 0 && end < 120, "at {at}");
            check(&log, &story[..usize::try_from(end).unwrap()]);
            let mut recorder = self::recorder(&log);
            record(&mut recorder, &story).unwrap();
            recorder.sync().unwrap();
            check(&log, &story);
            drop(recorder);
            check(&open(directory.path()), &story);
        }
    }
}

#[test]
fn a_frame_that_is_damaged_in_a_full_segment_costs_no_other() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    let story = story(3000);
    let mut recorder = recorder(&log);
    record(&mut recorder, &story).unwrap();
    recorder.sync().unwrap();
    drop((recorder, log));
    let file = OpenOptions::new().read(true).write(true).open(&files(directory.path())[0]).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1000).unwrap();
    let log = open(directory.path());
    let describe = |_: &mut Connection| Ok(());
    let damaged = (1..=3000).filter(|position| matches!(log.at(*position, &describe), Err(ReadError::Damaged { .. })));
    assert_eq!(damaged.collect::<Vec<_>>(), (1..=256).collect::<Vec<_>>());
    assert!(matches!(
        log.between(7, Cursor { position: 3000, chain: [0; 8] }, 10, &describe),
        Err(ReadError::Damaged { from: 8, .. })
    ));
}

#[test]
fn a_full_segment_that_is_gone_or_of_another_place_is_refused() {
    let directory = TempDir::new().unwrap();
    let story = story(3000);
    let mut recorder = recorder(&open(directory.path()));
    record(&mut recorder, &story).unwrap();
    recorder.sync().unwrap();
    drop(recorder);
    let files = files(directory.path());
    let first = files[0].with_extension("kept");
    fs::rename(&files[0], &first).unwrap();
    assert!(ChangeLog::open(directory.path(), IDENTITY, GENESIS, 0).is_err());
    fs::rename(&first, &files[0]).unwrap();
    assert!(ChangeLog::open(directory.path(), IDENTITY, [4; 32], 0).is_err(), "another log's");
    check(&open(directory.path()), &story);
}

#[test]
fn disk_failure_is_named_and_every_later_sync_fails() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    let story = story(3000);
    let mut recorder = recorder(&log);
    // No next segment can be created once the directory is gone.
    fs::remove_dir_all(directory.path()).unwrap();
    record(&mut recorder, &story[..100]).unwrap();
    recorder.sync().unwrap();
    check(&log, &story[..100]);
    let error = record(&mut recorder, &story).and_then(|()| recorder.sync()).unwrap_err();
    assert!(error.operation.starts_with("name "), "{error}");
    assert!(recorder.sync().is_err() && recorder.sync().is_err());
    check(&log, &story[..100]);
}

#[test]
fn a_change_that_cannot_be_recorded_is_in_the_ring_all_the_same() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    // Each frame fills a segment, and no next one can be created.
    let recorder = Recorder::new(log.clone(), 1).unwrap();
    fs::remove_dir_all(directory.path()).unwrap();
    let mut fold = Fold::recorded(RestoredState::default(), Point::default(), log, recorder, 4);
    let failed = (1..100_000).find(|position| {
        let body = serde_json::to_vec(&attempt(&format!("status {position}"))).unwrap();
        fold.advance(&event(*position, 0, "acme", ModeVerdict::Live, &body)).is_err()
    });
    let failed = failed.unwrap();
    let views = fold.publish();
    assert_eq!(views.position(), failed);
    let stretch = views.changes_after(failed - 1, 9).unwrap();
    assert_eq!(stretch.changes.iter().map(|changes| changes.position).collect::<Vec<_>>(), [failed]);
}

#[test]
fn a_change_segment_that_goes_on_after_none_is_removed() {
    let directory = TempDir::new().unwrap();
    let story = story(50);
    let mut recorder = recorder(&open(directory.path()));
    record(&mut recorder, &story).unwrap();
    recorder.sync().unwrap();
    drop(recorder);
    for name in ["00000000000000000900.open", "x.open"] {
        fs::write(directory.path().join(name), b"what another directory had").unwrap();
    }
    check(&open(directory.path()), &story);
    assert_eq!(files(directory.path()).len(), 1);
}

#[test]
fn dispositions_are_what_the_fold_made_of_each_event() {
    let attempt = |hours: i64| {
        let data = json!({"org_connection_id": "c", "connection_status": "authorized"});
        let mut body = body("patient.connection_success", &data);
        body["date"] = json!(jiff::Timestamp::from_microsecond(hours * HOUR).unwrap().to_string());
        body
    };
    let mut world = World::new();
    world.advance_clock(1000 * HOUR);
    world.append_body(&attempt(999));
    world.append_body(&attempt(900));
    world.append_body(&body("webhook.test", &json!({})));
    world.append(event(0, 0, "acme", ModeVerdict::Live, b"no JSON").delivery);
    let export = json!({"task_id": "t", "download_link": "https://x.test/1"});
    world.append_body(&body("patient.ehi_export_success", &export));
    // A frame that is still being gathered is not there yet: a checkpoint closes it.
    assert!(world.views().dispositions(1).unwrap().is_empty());
    for _ in 0..CHECKPOINT_EVENTS {
        world.append_body(&body("webhook.test", &json!({})));
    }
    let mut world = world.restarted();
    let found = world.views().dispositions(1).unwrap();
    let expected = [
        Disposition::Applied,
        Disposition::AppliedAsHistory,
        Disposition::NoEntity,
        Disposition::Withheld,
        Disposition::Applied,
    ];
    assert_eq!(found[..5], expected);
}
