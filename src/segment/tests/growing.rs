//! Tests of growing segments: read as they grow, opened again after each cut and each flipped byte, finished.

use super::*;

fn append(growing: &GrowingSegment, frames: &[Vec<u8>]) {
    for frame in frames {
        growing.append(frame).unwrap();
    }
}

#[test]
fn a_growing_segment_is_read_as_it_grows_and_becomes_a_segment() {
    let directory = tempfile::tempdir().unwrap();
    let frames = frames(10, &[3, 1, 5, 200], &mut StdRng::seed_from_u64(4));
    let growing = GrowingSegment::create(directory.path(), header(10)).unwrap();
    assert!((growing.last(), growing.after()) == (9, [3; 32]) && growing.read(10).unwrap().is_none());
    for (count, frame) in (1..).zip(&frames) {
        growing.append(frame).unwrap();
        for (position, frame) in by_position(&frames[..count]) {
            assert_eq!(growing.read(position).unwrap().as_ref(), Some(frame));
        }
        assert!(growing.read(growing.last() + 1).unwrap().is_none() && growing.read(9).unwrap().is_none());
        assert!(matches!(growing.append(frame), Err(SegmentError::OutOfOrder(_))), "once only");
    }
    let path = only_file(directory.path());
    assert!(GrowingSegment::is_named(&path) && path == GrowingSegment::path(directory.path(), 10));
    let segment = growing.finish().unwrap();
    segment.verify().unwrap();
    assert!(!path.exists() && growing.read(218).unwrap().is_some());
    let other = tempfile::tempdir().unwrap();
    let written = write(other.path(), 10, &frames);
    assert_eq!(fs::read(segment.path()).unwrap(), fs::read(written.path()).unwrap(), "no other bytes than a writer's");
}

/// The frames before the damage are left, and the segment goes on after them.
#[test]
fn harmed_growing_segment_goes_on_after_its_last_whole_frame() {
    let frames = frames(10, &[3, 1, 5], &mut StdRng::seed_from_u64(5));
    let original = tempfile::tempdir().unwrap();
    let growing = GrowingSegment::create(original.path(), header(10)).unwrap();
    let header_bytes = usize::try_from(growing.bytes()).unwrap();
    append(&growing, &frames);
    let bytes = fs::read(only_file(original.path())).unwrap();
    let ends: Vec<_> = frames
        .iter()
        .scan(header_bytes, |end, frame| {
            *end += frame.len();
            Some(*end)
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("00000000000000000010.open");
    for at in 0..bytes.len() {
        for is_cut in [false, true] {
            let mut harmed = bytes.clone();
            harmed[at] ^= 1;
            harmed.truncate(if is_cut { at } else { bytes.len() });
            fs::write(&path, harmed).unwrap();
            let growing = GrowingSegment::open(&path, IDENTITY, 0);
            if at < header_bytes {
                assert!(matches!(growing, Err(SegmentError::Damaged { from: 10, .. })), "at {at}");
                continue;
            }
            let growing = growing.unwrap();
            let whole = ends.iter().filter(|end| **end <= at).count();
            assert!(growing.bytes() == if whole == 0 { header_bytes } else { ends[whole - 1] } as u64, "at {at}");
            append(&growing, &frames[whole..]);
            growing.sync().unwrap();
            assert!(fs::read(&path).unwrap() == bytes, "at {at}");
        }
    }
}

/// Simulates a crash after the footer was written and before the file got its name.
#[test]
fn a_footer_without_its_name_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let frames = frames(10, &[3, 1, 5], &mut StdRng::seed_from_u64(6));
    let growing = GrowingSegment::create(directory.path(), header(10)).unwrap();
    append(&growing, &frames[..2]);
    let growing_path = directory.path().join("00000000000000000010.open");
    fs::rename(growing.finish().unwrap().path(), &growing_path).unwrap();
    let growing = GrowingSegment::open(&growing_path, IDENTITY, 0).unwrap();
    growing.append(&frames[2]).unwrap();
    growing.finish().unwrap().verify().unwrap();
}

#[test]
fn a_growing_segment_of_another_log_or_place_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    GrowingSegment::create(directory.path(), header(10)).unwrap();
    let path = only_file(directory.path());
    let foreign = GrowingSegment::open(&path, Identity { epoch: 9, ..IDENTITY }, 0);
    assert!(matches!(foreign, Err(SegmentError::Foreign { .. })));
    let elsewhere = directory.path().join("00000000000000000011.open");
    fs::rename(path, &elsewhere).unwrap();
    assert!(matches!(GrowingSegment::open(&elsewhere, IDENTITY, 0), Err(SegmentError::Damaged { .. })));
}
