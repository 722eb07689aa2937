//! Journals as they are written, and read after a crash.

mod damage;
mod lives;

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::value::{VALUE_BYTES_MAX, ValuePart, join, key};
use super::*;
use crate::event::{Hash, Position, Timestamp};
use crate::segment::{FRAME_BYTES_MAX, Frame, FrameHeader};
use crate::storage::{AtOnce, Pace};

const BEFORE: Hash = [3; 32];
const SEQUENCE: u64 = 12;

/// Returns frames that follow one another from position 1 on. Each shape has a count of records and a number of private
/// bytes.
fn frames(shapes: impl IntoIterator<Item = (u32, usize)>) -> Vec<JournalFrame> {
    let mut random = StdRng::seed_from_u64(1);
    let mut first = 1;
    let mut before = BEFORE;
    let mut micros = 1_000_000;
    let mut frames = Vec::new();
    for (count, bytes) in shapes {
        let mut private = vec![0; bytes];
        random.fill_bytes(&mut private);
        let after: Hash = Sha256::digest(before).into();
        let time = Timestamp::from_micros(micros);
        let header = FrameHeader {
            codec: 0,
            count,
            first,
            first_recorded_at: time,
            last_recorded_at: time.plus_micros(5),
            before,
            after,
            columns_expanded: 0,
        };
        let frame = Bytes::from(Frame { header, columns: &[], private: &private }.encode().unwrap());
        let keys = (0..count).map(|_| JournalKey { digest: random.random(), fingerprint: random.random() }).collect();
        frames.push(JournalFrame { generation: 7, frame, keys });
        first += u64::from(count);
        before = after;
        micros += 10;
    }
    frames
}

/// Returns frames of one to three records, with some hundred private bytes each.
fn small_frames(number: u32) -> Vec<JournalFrame> {
    frames((0..number).map(|n| (1 + n % 3, 100 + 37 * (n as usize % 30))))
}

fn header(frame: &JournalFrame) -> FrameHeader {
    Frame::decode(&frame.frame).unwrap().header
}

fn last(frames: &[JournalFrame]) -> Position {
    frames.last().map_or(0, |frame| header(frame).last())
}

fn put_all(journal: &Journal, frames: &[JournalFrame]) {
    for frame in frames {
        journal.put(frame).unwrap();
        journal.sync().unwrap();
    }
}

/// Returns a log directory with one journal of these frames, as a killed process leaves it.
fn killed(frames: &[JournalFrame]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::create(directory.path(), SEQUENCE).unwrap();
    put_all(&journal, frames);
    kill(directory.path())
}

/// Copies the open journals to another directory, as a kill would leave them.
fn kill(log_directory: &Path) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    for sequence in list(log_directory).unwrap() {
        let to = JournalFiles::of(left.path(), sequence);
        fs::create_dir_all(to.path().join("blobs")).unwrap();
        for (from, bytes) in contents(JournalFiles::of(log_directory, sequence).path()) {
            fs::write(to.path().join(from.file_name().unwrap()), bytes).unwrap();
        }
    }
    left
}

fn recovered(log_directory: &Path) -> FoundFrames {
    recover(log_directory, SEQUENCE).unwrap().follow(0, Some(BEFORE))
}

/// Returns each file with its bytes.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn after_a_kill_exactly_what_was_synced_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let frames = small_frames(200);
    let journal = Journal::create(directory.path(), SEQUENCE).unwrap();
    assert_eq!((journal.sequence(), journal.values(), journal.bytes()), (SEQUENCE, 0, 0));
    for synced in [0, 1, 2, 100] {
        put_all(&journal, &frames[journal.values()..synced]);
        journal.put(&frames[synced]).unwrap();
        let left = kill(directory.path());
        journal.sync().unwrap();
        let found = recovered(left.path());
        assert_eq!(found.frames[..], frames[..synced]);
        assert_eq!(found.reached, last(&frames[..synced]));
        assert_eq!(found.chain, Some(frames[..synced].last().map_or(BEFORE, |frame| header(frame).after)));
    }
    drop(journal);
    assert_eq!(recovered(directory.path()).frames, frames[..101]);
}

#[test]
fn a_closed_or_dropped_journal_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    let frames = small_frames(20);
    let journal = Journal::create(directory.path(), SEQUENCE).unwrap();
    put_all(&journal, &frames);
    assert!(journal.bytes() > frames.iter().map(|frame| frame.frame.len() as u64).sum());
    drop(journal);
    assert_eq!(recovered(directory.path()).frames, frames);
}

#[test]
fn a_walk_begins_where_it_is_asked_to_and_nowhere_else() {
    let frames = small_frames(20);
    let left = killed(&frames);
    let from = |after, chain| recover(left.path(), SEQUENCE).unwrap().follow(after, Some(chain));
    let third = header(&frames[2]);
    let found = from(third.last(), third.after);
    assert_eq!((&found.frames[..], found.reached), (&frames[3..], last(&frames)));
    for (after, chain) in [(third.last(), BEFORE), (third.last() + 1, third.after), (last(&frames), BEFORE)] {
        let found = from(after, chain);
        assert_eq!((found.frames.len(), found.reached, found.chain), (0, after, Some(chain)));
    }
    assert_eq!(from(u64::MAX, BEFORE).frames, []);
}

#[test]
fn a_frame_before_which_time_goes_back_does_not_follow() {
    let mut frames = small_frames(5);
    let late = Frame::decode(&frames[3].frame).unwrap();
    let early = Timestamp::from_micros(7);
    let header = FrameHeader { first_recorded_at: early, ..late.header };
    frames[3].frame = Frame { header, ..late }.encode().unwrap().into();
    let found = recovered(killed(&frames).path());
    assert_eq!(found.frames[..], frames[..3]);
}

#[test]
fn large_frames_come_back() {
    let largest = FRAME_BYTES_MAX - 122;
    let shapes =
        [(1, 10), (1, 5978), (1, 5979), (1, 5980), (300, 10), (2, 100_000), (1, 500_000), (7, largest), (1, 10)];
    let frames = frames(shapes);
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::create(directory.path(), SEQUENCE).unwrap();
    let mut values = 0;
    for frame in &frames {
        journal.put(frame).unwrap();
        let is_one = journal.values() == values + 1;
        assert_eq!(is_one, (frame.frame.len() <= frame_bytes_max(frame.keys.len())), "{}", frame.frame.len());
        values = journal.values();
    }
    journal.sync().unwrap();
    let left = kill(directory.path());
    assert_eq!(recovered(left.path()).frames, frames);
    let blobs = JournalFiles::of(directory.path(), SEQUENCE).refuse_blobs();
    assert!(blobs.is_ok(), "{blobs:?}");
}

#[test]
fn a_large_frame_is_put_a_part_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::create(directory.path(), SEQUENCE).unwrap();
    journal.put(&frames([(1, 1_000_000)])[0]).unwrap();
    assert!(journal.unsynced.load(Ordering::Relaxed) <= UNSYNCED_BYTES_MAX);
    assert_eq!(recovered(kill(directory.path()).path()).frames, [], "chunk 0 is last");
    journal.sync().unwrap();
    assert_eq!(recovered(kill(directory.path()).path()).frames.len(), 1);
}

#[test]
fn a_frame_without_one_of_its_chunks_is_not_recovered() {
    let frames = frames([(1, 50), (1, 30_000), (1, 60)]);
    let values = value::encode(&frames[1]).unwrap();
    assert_eq!(values.last().unwrap().0, key(2, 0), "chunk 0 comes last");
    assert!(values.iter().all(|(_, value)| value.len() <= VALUE_BYTES_MAX));
    for missing in 0..values.len() {
        for is_damaged in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let journal = Journal::create(directory.path(), SEQUENCE).unwrap();
            journal.put(&frames[0]).unwrap();
            for (n, (key, value)) in values.iter().enumerate() {
                let mut value = value.clone();
                value[100] ^= u8::from(n == missing && is_damaged);
                if n != missing || is_damaged {
                    journal.db().unwrap().insert(key, value).unwrap();
                }
            }
            journal.put(&frames[2]).unwrap();
            drop(journal);
            let found = recovered(directory.path());
            assert_eq!((&found.frames[..], found.reached), (&frames[..1], 1), "chunk {missing}");
            let recovered = recover(directory.path(), SEQUENCE).unwrap();
            assert_eq!(recovered.next_after(1), Some(3), "chunk {missing}");
        }
    }
}

#[test]
fn values_decode_to_what_was_encoded_and_other_bytes_to_nothing() {
    let mut random = StdRng::seed_from_u64(4);
    for frame in frames([(1, 0), (3, 500), (2, 20_000)]) {
        let values = value::encode(&frame).unwrap();
        let mut parts: Vec<_> = values.iter().map(|(_, value)| ValuePart::decode(value).unwrap()).collect();
        parts.reverse();
        let joined: Vec<u8> = parts.iter().flat_map(|part| part.bytes).copied().collect();
        assert_eq!(join(2, &joined).unwrap(), frame);
        assert!(join(2, &joined[..joined.len() - 1]).is_err());
        assert!(join(2, &[&joined[..], &[0; 16]].concat()).is_err());
        for _ in 0..2000 {
            let mut value = values[0].1.clone();
            let at = random.random_range(0..value.len());
            value[at] ^= 1 << random.random_range(0..8);
            assert!(ValuePart::decode(&value).is_err());
            assert!(ValuePart::decode(&values[0].1[..at]).is_err());
            assert!(ValuePart::begin(&values[0].1[at..]).is_err() || at == 0);
        }
        let keys = vec![JournalKey::default(); frame.keys.len() + 1];
        assert!(value::encode(&JournalFrame { keys, ..frame }).is_err());
    }
    assert!(join(2, &[0xff; 40]).is_err() && ValuePart::decode(&[]).is_err());
}

#[test]
fn values_of_format_1_have_no_fingerprints() {
    let mut random = StdRng::seed_from_u64(6);
    let frame = frames([(2, 500)]).remove(0);
    let mut joined = frame.generation.to_be_bytes().to_vec();
    joined.extend(u32::try_from(frame.frame.len()).unwrap().to_be_bytes());
    joined.extend_from_slice(&frame.frame);
    frame.keys.iter().for_each(|key| joined.extend(key.digest));
    let read = join(1, &joined).unwrap();
    assert_eq!((read.frame, read.keys.len()), (frame.frame, 2));
    for (read, written) in read.keys.iter().zip(&frame.keys) {
        assert_eq!((read.digest, read.fingerprint), (written.digest, [0; 8]));
    }
    assert!(join(2, &joined).is_err());
    joined.extend(random.random::<[u8; 16]>());
    assert!(join(1, &joined).is_err());
}

#[test]
fn a_journal_that_was_never_finished_has_no_frames() {
    let whole = killed(&[]);
    assert_eq!(recovered(whole.path()).frames, []);
    for kept in [&[][..], &["conf"], &["db"], &["blobs"], &["conf", "db", "blobs"]] {
        let directory = tempfile::tempdir().unwrap();
        let files = JournalFiles::of(directory.path(), SEQUENCE);
        fs::create_dir(files.path()).unwrap();
        for name in kept {
            if *name == "blobs" {
                fs::create_dir(files.path().join(name)).unwrap();
            } else {
                // The blocks of the file were never written.
                fs::write(files.path().join(name), []).unwrap();
            }
        }
        let found = recovered(directory.path());
        assert_eq!((found.frames.len(), found.reached, found.chain), (0, 0, Some(BEFORE)), "{kept:?}");
    }
    let nowhere = tempfile::tempdir().unwrap();
    assert!(recover(nowhere.path(), SEQUENCE).is_err());
}

#[test]
fn journals_are_listed_by_their_exact_names_and_go_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for sequence in [300, 2, 10] {
        drop(Journal::create(path, sequence).unwrap());
    }
    assert!(Journal::create(path, 10).is_err(), "it is there");
    for name in ["journal-1", "journal-0000000000000000000x", "journal-99999999999999999999", "x.gone", "head"] {
        fs::write(path.join(name), []).unwrap();
    }
    assert_eq!(list(path).unwrap(), [2, 10, 300]);
    remove(path, 10, &mut AtOnce).unwrap();
    assert!(!JournalFiles::of(path, 10).path().with_extension("gone").exists());
    assert_eq!(list(path).unwrap(), [2, 300]);
    assert!(remove(path, 10, &mut AtOnce).is_ok(), "it is gone already");
    let two = JournalFiles::of(path, 2);
    fs::rename(two.path(), two.path().with_extension("gone")).unwrap();
    assert_eq!(list(path).unwrap(), [300]);
    sweep(path).unwrap();
    assert!(!two.path().with_extension("gone").exists() && path.join("x.gone").exists());
    assert_eq!(list(path).unwrap(), [300]);
}

/// Counts pauses.
struct Slow(usize);

impl Pace for Slow {
    fn is_slow(&self) -> bool {
        true
    }

    fn pause(&mut self) {
        self.0 += 1;
    }
}

#[test]
fn a_large_journal_is_shortened_before_removal_unless_linked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let copy = path.join("copy");
    for (sequence, has_copy, pauses) in [(1, false, 3), (2, true, 0)] {
        drop(Journal::create(path, sequence).unwrap());
        let db = JournalFiles::of(path, sequence).db();
        fs::write(&db, vec![1; 10 * 1024 * 1024]).unwrap();
        if has_copy {
            fs::hard_link(&db, &copy).unwrap();
        }
        let mut pace = Slow(0);
        remove(path, sequence, &mut pace).unwrap();
        assert_eq!((pace.0, list(path).unwrap().len()), (pauses, 0));
    }
    assert_eq!(fs::metadata(&copy).unwrap().len(), 10 * 1024 * 1024);
}
