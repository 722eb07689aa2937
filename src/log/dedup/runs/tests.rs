//! Runs as they are written, looked up, merged, loaded and damaged: one fault at a time.

mod damage;
mod filters;
mod large;
mod loading;
mod merging;
mod model;
mod policy;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

use super::load::UnusableFile;
use super::*;
use crate::event::{Identity, Point, Position, Timestamp};
use crate::log::dedup::key::{Digest, Fingerprint, KeyEntry, RunOrigin};
use crate::storage::{AtOnce, PIECE_BYTES, Pace};

const ORIGIN: RunOrigin = RunOrigin { identity: Identity { log_id: 7, epoch: 8 }, generation: 5 };

fn is_ours(header: &RunHeader) -> bool {
    header.origin == ORIGIN
}

/// Expected answers of a run or a set.
type Model = BTreeMap<[u8; 16], KeyEntry>;

fn header(after: Position, through: Position) -> RunHeader {
    let head = Point { position: through, chain: [3; 32], recorded_at: Timestamp::from_micros(-9) };
    RunHeader { origin: ORIGIN, fingerprint_version: 1, after, head }
}

fn entry(random: &mut StdRng, position: Position) -> KeyEntry {
    let digest = Digest::from_bytes(random.random());
    KeyEntry { digest, position, fingerprint: Fingerprint(random.random()) }
}

/// Returns a key for each position.
fn entries(random: &mut StdRng, after: Position, through: Position) -> Vec<KeyEntry> {
    (after + 1..=through).map(|position| entry(random, position)).collect()
}

fn write_run(directory: &Path, after: Position, through: Position, entries: &[KeyEntry]) -> Arc<DedupRun> {
    Arc::new(write(directory, header(after, through), entries.to_vec(), &mut AtOnce).unwrap())
}

/// Returns the entry with the lowest position for each digest.
fn model(entries: &[KeyEntry]) -> Model {
    let mut model = Model::new();
    for entry in entries {
        let kept = model.entry(entry.digest.to_bytes()).or_insert(*entry);
        if entry.position < kept.position {
            *kept = *entry;
        }
    }
    model
}

fn all(run: &DedupRun) -> Vec<KeyEntry> {
    run.entries().map(Result::unwrap).collect()
}

fn check(run: &DedupRun, model: &Model) {
    assert_eq!(all(run), model.values().copied().collect::<Vec<_>>());
    assert_eq!(run.keys(), model.len() as u64);
    for entry in model.values() {
        assert!(run.may_contain(entry.digest));
        assert_eq!(run.find(entry.digest).unwrap(), Some(*entry));
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// Run of three blocks, and its entries.
struct SmallRun {
    directory: TempDir,
    path: PathBuf,
    entries: Vec<KeyEntry>,
}

fn small() -> SmallRun {
    let directory = tempfile::tempdir().unwrap();
    let entries = entries(&mut StdRng::seed_from_u64(1), 100, 400);
    let run = write_run(directory.path(), 100, 400, &entries);
    let path = run.path().to_owned();
    SmallRun { directory, path, entries }
}

#[test]
fn a_run_is_read_as_it_was_written() {
    let mut random = StdRng::seed_from_u64(2);
    for keys in [0, 1, 2, 140, 141, 142, 282, 283, 5000] {
        let directory = tempfile::tempdir().unwrap();
        let after = random.random_range(0..1 << 39);
        let mut entries = entries(&mut random, after, after + keys);
        let again =
            |first: &KeyEntry| KeyEntry { position: first.position + 1, fingerprint: Fingerprint::UNKNOWN, ..*first };
        entries.extend(entries.first().map(again).iter());
        let model = model(&entries[..usize::try_from(keys).unwrap()]);
        let written = write_run(directory.path(), after, after + 10_000, &entries);
        let path = directory.path().join(format!("{after:020}-{:020}.run", after + 10_000));
        let opened = DedupRun::open(&path).unwrap();
        assert_eq!((written.path(), opened.path()), (&*path, &*path));
        assert_eq!(
            (opened.header(), written.header()),
            (&header(after, after + 10_000), &header(after, after + 10_000))
        );
        assert_eq!(opened.file_bytes(), path.metadata().unwrap().len());
        check(&written, &model);
        check(&opened, &model);
        assert_eq!(names(directory.path()).len(), 1, "nothing else is left");
    }
}

/// Checks that every field is where `runs.rs` says.
#[test]
fn the_bytes_are_those_of_the_documented_format() {
    let SmallRun { directory: _directory, path, entries } = small();
    let bytes = fs::read(path).unwrap();
    let number =
        |at: usize, length: usize| bytes[at..at + length].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let crc = |from: usize, to: usize| u64::from(crc32c::crc32c(&bytes[from..to]));
    assert_eq!(bytes[..4], *b"cdr\x03");
    assert_eq!((number(4 + 8, 8), number(20 + 8, 8), number(36, 4), number(40, 1)), (7, 8, 5, 1));
    assert_eq!((number(41, 8), number(49, 8), number(97, 8)), (100, 400, 300));
    assert_eq!((&bytes[57..89], number(89, 8)), (&[3; 32][..], 0u64.wrapping_sub(9)));
    assert_eq!(number(105, 4), crc(0, 105));
    let sorted: Vec<_> = model(&entries).into_values().collect();
    for (block, count) in [(0, 141), (1, 141), (2, 18)] {
        let at = 4096 * (1 + block);
        assert_eq!((number(at, 2), number(at + 4092, 4)), (count, crc(at, at + 4092)));
        let second = &sorted[141 * block + 1];
        let at = at + 2 + 29;
        assert_eq!(bytes[at..at + 16], second.digest.to_bytes());
        assert_eq!((number(at + 16, 5), &bytes[at + 21..at + 29]), (second.position, &second.fingerprint.0[..]));
    }
    let filter = 4 * 4096;
    let tail = bytes.len() - 26;
    let prints = usize::try_from((number(filter + 12, 4) + 2) * number(filter + 8, 4)).unwrap();
    let filter_end = filter + 16 + 2 * prints;
    assert_eq!(number(filter_end, 4), crc(filter, filter_end));
    let footer = usize::try_from(number(tail, 8)).unwrap();
    assert_eq!((footer, footer + 20 + 3 * 8), (5 * 4096, tail));
    assert_eq!((number(footer + 8, 4), number(footer + 12, 4)), (0, 3));
    assert_eq!(number(footer + 16, 4), (filter_end + 4 - filter) as u64);
    let firsts = [0, 0, 1, 2].map(|block: usize| sorted[141 * block].digest.prefix());
    assert_eq!([footer, footer + 20, footer + 28, footer + 36].map(|at| number(at, 8)), firsts);
    assert_eq!((number(tail + 8, 4), number(tail + 12, 4), number(tail + 16, 4)), (1, 3, crc(footer, tail + 16)));
    assert_eq!(&bytes[tail + 20..], b"cdrend");
}

#[test]
fn what_a_run_cannot_hold_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let entries = entries(&mut StdRng::seed_from_u64(3), 10, 20);
    let refused = |after, through, entries: &[KeyEntry]| {
        let result = write(directory.path(), header(after, through), entries.to_vec(), &mut AtOnce);
        assert!(matches!(result, Err(WriteRunError::Impossible(_))), "{result:?}");
        assert_eq!(names(directory.path()), [""; 0]);
    };
    refused(10, 19, &entries);
    refused(10, 10, &[]);
    refused(11, 10, &[]);
    refused(0, 1 << 41, &[KeyEntry { position: 1 << 40, ..entries[0] }]);
    let last = KeyEntry { position: (1 << 40) - 1, ..entries[0] };
    check(&write_run(directory.path(), 0, 1 << 41, &[last]), &model(&[last]));
    let missing = write(&directory.path().join("missing"), header(10, 20), entries, &mut AtOnce);
    assert!(matches!(missing, Err(WriteRunError::Io { operation: "create", .. })));
}

/// Notes, at each pause, the length of the file that is being written.
struct Lengths<'a>(&'a Path, Vec<u64>);

impl Pace for Lengths<'_> {
    fn is_slow(&self) -> bool {
        true
    }

    fn pause(&mut self) {
        let [name] = &names(self.0)[..] else { panic!("{:?}", names(self.0)) };
        assert_eq!(Path::new(name).extension().unwrap(), "new");
        self.1.push(self.0.join(name).metadata().unwrap().len());
    }
}

#[test]
fn run_is_written_and_read_back_in_pieces_before_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let entries = entries(&mut StdRng::seed_from_u64(4), 0, 20_000);
    let mut pace = Lengths(directory.path(), Vec::new());
    let run = write(directory.path(), header(0, 20_000), entries, &mut pace).unwrap();
    let piece = PIECE_BYTES as u64;
    let whole = run.file_bytes();
    let pieces = whole / piece;
    let mut expected: Vec<_> = (1..=pieces).map(|number| number * piece).collect();
    expected.push(whole);
    expected.extend([whole].repeat(20_000 / (32 * 141)));
    assert_eq!(pace.1, expected);
}

/// Flips a bit in the file that is being written, once: at the first pause at which the file has the byte.
struct Harm<'a> {
    directory: &'a Path,
    at: Option<u64>,
}

impl Pace for Harm<'_> {
    fn is_slow(&self) -> bool {
        true
    }

    fn pause(&mut self) {
        let path = self.directory.join(&names(self.directory)[0]);
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        let Some(at) = self.at.filter(|at| *at < file.metadata().unwrap().len()) else { return };
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        self.at = None;
    }
}

#[test]
fn run_that_the_disk_did_not_keep_as_written_gets_no_name() {
    let directory = tempfile::tempdir().unwrap();
    let entries = entries(&mut StdRng::seed_from_u64(14), 0, 6000);
    let write_harmed = |at| {
        let mut pace = Harm { directory: directory.path(), at };
        let result = write(directory.path(), header(0, 6000), entries.clone(), &mut pace);
        assert_eq!(pace.at, None, "it is harmed");
        result
    };
    // End of the header and of the 43 blocks. A filter of four pages and the footer follow.
    let blocks = 4096 * 44;
    assert!(matches!(write_harmed(Some(5000)), Err(WriteRunError::BlockNotAsWritten(_))));
    assert!(matches!(write_harmed(Some(blocks + 1000)), Err(WriteRunError::NotAsWritten { .. })));
    assert!(matches!(write_harmed(Some(blocks + 4 * 4096 + 100)), Err(WriteRunError::NotAsWritten { .. })));
    assert_eq!(names(directory.path()), [""; 0]);
    check(&write_harmed(None).unwrap(), &model(&entries));
}
