//! Tests of segments: written, read, and damaged. One fault at a time, each flipped bit and each length.

mod growing;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::event::{Hash, Identity, Position, Timestamp};
use crate::storage::{AtOnce, PIECE_BYTES, Pace};

const IDENTITY: Identity = Identity { log_id: 7, epoch: 8 };

fn header(first: Position) -> SegmentHeader {
    SegmentHeader { identity: IDENTITY, first, before: [3; 32], source: 5, merges: 0 }
}

/// Returns frames of `counts` records each, from `first` on, as a writer takes them.
fn frames(first: Position, counts: &[u32], random: &mut StdRng) -> Vec<Vec<u8>> {
    let mut before = header(first).before;
    let mut first = first;
    let mut micros = 1_000_000;
    let mut frames = Vec::new();
    for count in counts {
        let after: Hash = Sha256::digest(before).into();
        let first_recorded_at = Timestamp::from_micros(micros);
        micros += random.random_range(0..1000);
        let last_recorded_at = Timestamp::from_micros(micros);
        let columns = bytes(random);
        let private = bytes(random);
        let columns_expanded = 2 * u32::try_from(columns.len()).unwrap();
        let header = FrameHeader {
            codec: 1,
            count: *count,
            first,
            first_recorded_at,
            last_recorded_at,
            before,
            after,
            columns_expanded,
        };
        frames.push(Frame { header, columns: &columns, private: &private }.encode().unwrap());
        first += u64::from(*count);
        before = after;
    }
    frames
}

fn bytes(random: &mut StdRng) -> Vec<u8> {
    (0..random.random_range(0..200)).map(|_| random.random()).collect()
}

fn write(directory: &Path, first: Position, frames: &[Vec<u8>]) -> Segment {
    let mut writer = SegmentWriter::create(directory, header(first), AtOnce).unwrap();
    for frame in frames {
        writer.push(frame).unwrap();
    }
    writer.finish().unwrap()
}

/// Returns each position with the bytes of its frame.
fn by_position(frames: &[Vec<u8>]) -> Vec<(Position, &Vec<u8>)> {
    let each = frames.iter().flat_map(|bytes| {
        let header = Frame::decode(bytes).unwrap().header;
        (header.first..=header.last()).map(move |position| (position, bytes))
    });
    each.collect()
}

fn open(path: &Path) -> Result<Segment, SegmentError> {
    Segment::open(path, IDENTITY)
}

fn only_file(directory: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// A segment of three frames, in a directory of its own.
struct SmallSegment {
    directory: tempfile::TempDir,
    path: PathBuf,
    frames: Vec<Vec<u8>>,
}

fn small() -> SmallSegment {
    let directory = tempfile::tempdir().unwrap();
    let frames = frames(10, &[3, 1, 5], &mut StdRng::seed_from_u64(1));
    write(directory.path(), 10, &frames);
    let path = only_file(directory.path());
    SmallSegment { directory, path, frames }
}

#[test]
fn every_position_is_in_the_frame_that_was_written_for_it() {
    let mut random = StdRng::seed_from_u64(2);
    for _ in 0..50 {
        let directory = tempfile::tempdir().unwrap();
        let first = random.random_range(1..1_000_000);
        let counts: Vec<u32> = (0..random.random_range(1..20)).map(|_| random.random_range(1..300)).collect();
        let frames = frames(first, &counts, &mut random);
        let written = write(directory.path(), first, &frames);
        let segment = open(&only_file(directory.path())).unwrap();
        segment.verify().unwrap();
        assert_eq!((segment.header(), segment.last()), (&header(first), written.last()));
        assert!(!segment.is_footer_damaged());
        for (position, frame) in by_position(&frames) {
            assert_eq!(segment.read(position).unwrap().as_ref(), Some(frame));
        }
        assert_eq!(segment.read(first - 1).unwrap(), None);
        assert_eq!(segment.read(segment.last() + 1).unwrap(), None);
    }
}

#[test]
fn a_segment_has_its_name_only_when_it_is_whole() {
    let SmallSegment { directory, path, frames } = small();
    assert_eq!(path.file_name().unwrap(), "00000000000000000010-00000000000000000018.seg");
    fs::remove_file(&path).unwrap();
    let mut writer = SegmentWriter::create(directory.path(), header(10), AtOnce).unwrap();
    writer.push(&frames[0]).unwrap();
    assert_eq!(only_file(directory.path()).extension().unwrap(), "new");
    drop(writer);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// Records the length of the only file of a directory at each pause.
struct Lengths<'a>(&'a Path, &'a RefCell<Vec<u64>>);

impl Pace for Lengths<'_> {
    fn is_slow(&self) -> bool {
        true
    }

    fn pause(&mut self) {
        self.1.borrow_mut().push(only_file(self.0).metadata().unwrap().len());
    }
}

#[test]
fn a_segment_is_written_and_read_back_in_pieces() {
    let directory = tempfile::tempdir().unwrap();
    let frames = frames(10, &[1; 4000], &mut StdRng::seed_from_u64(3));
    let lengths = RefCell::new(Vec::new());
    let mut writer = SegmentWriter::create(directory.path(), header(10), Lengths(directory.path(), &lengths)).unwrap();
    for frame in &frames {
        writer.push(frame).unwrap();
    }
    let whole = writer.finish().unwrap().bytes();
    let piece = PIECE_BYTES as u64;
    let lengths = lengths.take();
    let (written, read_back): (Vec<u64>, Vec<u64>) = lengths.iter().partition(|length| **length <= whole);
    assert!(whole > 5 * piece, "{whole}");
    assert_eq!((written.len() as u64, read_back.len() as u64), (whole / piece, whole / piece));
    assert!(written.windows(2).all(|pair| (piece..piece + 1000).contains(&(pair[1] - pair[0]))), "{written:?}");
}

#[test]
fn two_writers_of_one_range_do_not_meet_and_nothing_is_replaced() {
    let SmallSegment { directory, path, frames } = small();
    let good = fs::read(&path).unwrap();
    let mut writers = [(); 2].map(|()| SegmentWriter::create(directory.path(), header(10), AtOnce).unwrap());
    for frame in &frames {
        for writer in &mut writers {
            writer.push(frame).unwrap();
        }
    }
    for writer in writers {
        assert!(matches!(writer.finish(), Err(SegmentError::Io { operation: "name", .. })));
    }
    assert_eq!((fs::read(only_file(directory.path())).unwrap(), only_file(directory.path())), (good, path));
}

#[test]
fn a_segment_of_another_log_or_range_is_refused() {
    let SmallSegment { directory, path, .. } = small();
    let other = Identity { epoch: 9, ..IDENTITY };
    assert!(matches!(Segment::open(&path, other), Err(SegmentError::Foreign { .. })));
    for (first, last) in [(10, 17), (10, 19), (11, 18), (1, 18)] {
        let renamed = directory.path().join(SegmentName { first, last }.to_string());
        fs::copy(&path, &renamed).unwrap();
        assert!(matches!(open(&renamed), Err(SegmentError::Damaged { .. })), "{first} to {last}");
    }
    for name in ["10-18.seg", "00000000000000000010-00000000000000000018.new", "x"] {
        assert_eq!(SegmentName::of(Path::new(name)), None);
    }
}

#[test]
fn frames_that_do_not_follow_one_another_are_refused() {
    let SmallSegment { directory, frames, .. } = small();
    let mut random = StdRng::seed_from_u64(3);
    let earlier = self::frames(13, &[1], &mut random);
    let mut writer = SegmentWriter::create(directory.path(), header(10), AtOnce).unwrap();
    let refused = |result: Result<(), SegmentError>| matches!(result, Err(SegmentError::OutOfOrder(_)));
    assert!(refused(writer.push(&frames[1])), "a gap");
    writer.push(&frames[0]).unwrap();
    assert!(refused(writer.push(&frames[0])), "the same again");
    assert!(refused(writer.push(&earlier[0])), "another chain");
    assert!(refused(writer.push(&frames[1][1..])), "no frame");
    writer.push(&frames[1]).unwrap();
    assert_eq!(writer.last(), 13);
    let empty = SegmentWriter::create(directory.path(), header(10), AtOnce).unwrap();
    assert!(matches!(empty.finish(), Err(SegmentError::OutOfOrder(_))));
    assert!(matches!(SegmentWriter::create(directory.path(), header(0), AtOnce), Err(SegmentError::OutOfOrder(_))));
}

/// Opens and reads a damaged segment. No wrong frame may pass for right. Returns whether every position was read.
fn reads_only_what_was_written(path: &Path, frames: &[Vec<u8>]) -> bool {
    let Ok(segment) = open(path) else { return false };
    assert!(segment.verify().is_err(), "the harm is not found");
    let mut all = true;
    for (position, frame) in by_position(frames) {
        match segment.read(position) {
            Ok(Some(read)) => assert_eq!(&read, frame, "at {position}"),
            Err(SegmentError::Damaged { from, .. }) => {
                assert!((10..=position).contains(&from));
                all = false;
            }
            other => panic!("{other:?}"),
        }
    }
    all
}

#[test]
fn each_flipped_bit_is_found_and_costs_no_other_frame() {
    let SmallSegment { directory: _directory, path, frames } = small();
    let good = fs::read(&path).unwrap();
    let frames_begin = header::BYTES;
    let frames_end = header::BYTES + frames.iter().map(Vec::len).sum::<usize>();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            fs::write(&path, &bytes).unwrap();
            let all = reads_only_what_was_written(&path, &frames);
            // The footer is rebuilt from the frames.
            assert_eq!(all, at >= frames_end, "bit {bit} of byte {at}");
            if (frames_begin..frames_end).contains(&at) {
                let segment = open(&path).unwrap();
                let unread = by_position(&frames).into_iter().filter(|(position, _)| segment.read(*position).is_err());
                let mut harmed: Vec<_> = unread.map(|(_, frame)| frame).collect();
                harmed.dedup();
                assert_eq!(harmed.len(), 1, "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn each_shortened_or_lengthened_file_is_found() {
    let SmallSegment { directory: _directory, path, frames } = small();
    let good = fs::read(&path).unwrap();
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        reads_only_what_was_written(&path, &frames);
    }
    fs::write(&path, [&good[..], &[0]].concat()).unwrap();
    assert!(reads_only_what_was_written(&path, &frames), "the frames are all there");
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let SmallSegment { directory: _directory, path, .. } = small();
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..header::BYTES - 4]).to_be_bytes();
    bytes[header::BYTES - 4..header::BYTES].copy_from_slice(&crc);
    fs::write(&path, bytes).unwrap();
    let Err(SegmentError::Newer { format, .. }) = open(&path) else { panic!("it is of format 2") };
    assert_eq!(format, 2);
}

#[test]
fn no_bytes_make_a_frame_that_was_not_written() {
    let mut random = StdRng::seed_from_u64(4);
    let good = frames(1, &[4], &mut random).remove(0);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        bytes.truncate(random.random_range(0..=bytes.len()));
        assert!(Frame::decode(&bytes).is_err() || bytes == good);
    }
}

#[test]
fn an_impossible_frame_is_not_encoded() {
    let frame = frames(1, &[4], &mut StdRng::seed_from_u64(5)).remove(0);
    let frame = Frame::decode(&frame).unwrap();
    let with = |header| Frame { header, ..frame }.encode();
    assert!(with(FrameHeader { count: 0, ..frame.header }).is_err());
    assert!(with(FrameHeader { first: 0, ..frame.header }).is_err());
    assert!(with(FrameHeader { codec: 2, ..frame.header }).is_err(), "reserved");
    let late = Timestamp::from_micros(i64::MAX);
    assert!(with(FrameHeader { first_recorded_at: late, ..frame.header }).is_err());
    let large = vec![0; FRAME_BYTES_MAX];
    assert!(Frame { private: &large, ..frame }.encode().is_err());
}

fn gap() -> Gap {
    Gap { accepted_by: "the operator".into(), accepted_at: Timestamp::from_micros(2_000_000_000) }
}

/// Returns a frame, a gap of `count` positions after it, and a frame after the gap.
fn frames_around_a_gap(count: u32) -> Vec<Vec<u8>> {
    let before = frames(10, &[3], &mut StdRng::seed_from_u64(6)).remove(0);
    let last = Frame::decode(&before).unwrap().header;
    let gap = gap().encode(13, count, last.last_recorded_at, last.after, [9; 32]).unwrap();
    let first = 13 + u64::from(count);
    let header = FrameHeader {
        first,
        count: 1,
        before: [9; 32],
        after: [8; 32],
        first_recorded_at: last.last_recorded_at,
        ..last
    };
    let after = Frame { header, ..Frame::decode(&before).unwrap() }.encode().unwrap();
    vec![before, gap, after]
}

#[test]
fn a_gap_is_written_found_and_verified_as_any_frame() {
    let directory = tempfile::tempdir().unwrap();
    let frames = frames_around_a_gap(1_000_000);
    write(directory.path(), 10, &frames).verify().unwrap();
    let path = only_file(directory.path());
    let segment = open(&path).unwrap();
    segment.verify().unwrap();
    for (position, number) in [(12, 0), (13, 1), (500_000, 1), (1_000_012, 1), (1_000_013, 2)] {
        assert_eq!(segment.read(position).unwrap().as_ref(), Some(&frames[number]), "at {position}");
    }
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let segment = open(&path).unwrap();
    assert!(segment.is_footer_damaged());
    assert_eq!(segment.read(1_000_012).unwrap().as_ref(), Some(&frames[1]), "found by the walk");
}

#[test]
fn a_gap_says_who_accepted_it_and_holds_no_record() {
    let [before, frame, _] = &frames_around_a_gap(7)[..] else { panic!("they are three") };
    let frame = Frame::decode(frame).unwrap();
    assert!(frame.header.is_gap() && (frame.header.count, frame.header.last()) == (7, 19));
    assert_eq!(Gap::of(&frame), Ok(Some(gap())));
    let before = Frame::decode(before).unwrap();
    assert!(!before.header.is_gap() && Gap::of(&before) == Ok(None));
    assert!(Frame { private: b"x", ..frame }.encode().is_err(), "a private byte");
    assert!(Frame { columns: &frame.columns[1..], ..frame }.encode().is_err(), "another length");
    let shorter = FrameHeader { columns_expanded: frame.header.columns_expanded - 1, ..frame.header };
    let shorter = Frame { header: shorter, columns: &frame.columns[1..], private: &[] };
    assert!(Gap::of(&shorter).is_err());
}
