//! Runs with one fault: a flipped bit, another length, another format. No answer may be wrong or missing.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use super::*;

/// Opens and reads a damaged run. No wrong answer may pass for right. Returns whether all of the run was right.
fn answers_only_what_was_written(path: &Path, model: &Model, probes: &[KeyEntry]) -> bool {
    let Ok(run) = DedupRun::open(path) else { return false };
    let mut all = true;
    for probe in probes {
        match run.find(probe.digest) {
            Ok(found) => assert_eq!(found, model.get(&probe.digest.to_bytes()).copied()),
            Err(DedupRunError::Damaged { path: named, .. }) => {
                assert_eq!(named, path);
                all = false;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    match run.entries().collect::<Result<Vec<_>, _>>() {
        Ok(entries) => assert!(entries.iter().eq(model.values())),
        Err(_) => all = false,
    }
    all
}

/// Run of two blocks and all of its entries.
struct TwoBlocks {
    directory: TempDir,
    path: PathBuf,
    model: Model,
    /// One entry of each block, and two absent ones.
    probes: Vec<KeyEntry>,
}

fn two_blocks() -> TwoBlocks {
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(5);
    let entries = entries(&mut random, 100, 250);
    let path = write_run(directory.path(), 100, 250, &entries).path().to_owned();
    let model = model(&entries);
    let sorted: Vec<_> = model.values().copied().collect();
    let probes = vec![sorted[70], sorted[145], entry(&mut random, 101), entry(&mut random, 102)];
    TwoBlocks { directory, path, model, probes }
}

fn open_to_change(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

#[test]
fn each_flipped_bit_is_found() {
    let TwoBlocks { directory: _directory, path, model, probes } = two_blocks();
    let good = fs::read(&path).unwrap();
    let file = open_to_change(&path);
    assert!(answers_only_what_was_written(&path, &model, &probes));
    for (at, byte) in good.iter().enumerate() {
        for bit in 0..8 {
            file.write_all_at(&[byte ^ (1 << bit)], at as u64).unwrap();
            assert!(!answers_only_what_was_written(&path, &model, &probes), "bit {bit} of byte {at}");
        }
        file.write_all_at(&[*byte], at as u64).unwrap();
    }
    assert!(answers_only_what_was_written(&path, &model, &probes));
}

#[test]
fn a_flipped_bit_of_an_open_run_costs_no_other_block() {
    let TwoBlocks { directory: _directory, path, model, .. } = two_blocks();
    let run = DedupRun::open(&path).unwrap();
    let file = open_to_change(&path);
    file.write_all_at(&[0xff, 0xff], 4096).unwrap();
    let (found, damaged): (Vec<&KeyEntry>, Vec<_>) = model.values().partition(|entry| run.find(entry.digest).is_ok());
    assert_eq!((damaged.len(), found.len()), (141, 9));
    assert!(found.iter().all(|entry| run.find(entry.digest).unwrap() == Some(**entry)));
    let mut entries = run.entries();
    assert!(matches!(entries.next(), Some(Err(DedupRunError::Damaged { .. }))));
    assert!(entries.next().is_none(), "it ends after an error");
}

#[test]
fn a_block_that_is_another_one_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let entries = entries(&mut StdRng::seed_from_u64(6), 0, 2 * 141);
    let run = write_run(directory.path(), 0, 2 * 141, &entries);
    let file = open_to_change(run.path());
    let mut second = [0; 4096];
    file.read_exact_at(&mut second, 2 * 4096).unwrap();
    file.write_all_at(&second, 4096).unwrap();
    let sorted: Vec<_> = model(&entries).into_values().collect();
    assert!(matches!(run.find(sorted[0].digest), Err(DedupRunError::Damaged { .. })));
    assert_eq!(run.find(sorted[141].digest).unwrap(), Some(sorted[141]));
}

#[test]
fn each_shortened_or_lengthened_file_is_found() {
    let TwoBlocks { directory: _directory, path, model, probes } = two_blocks();
    let good = fs::read(&path).unwrap();
    let file = open_to_change(&path);
    for length in (0..good.len()).rev() {
        file.set_len(length as u64).unwrap();
        assert!(matches!(DedupRun::open(&path), Err(UnusableRun::Damaged(_))), "at {length}");
    }
    for more in [1, 26, 4096] {
        fs::write(&path, [&good[..], &vec![0; more]].concat()).unwrap();
        assert!(matches!(DedupRun::open(&path), Err(UnusableRun::Damaged(_))), "by {more}");
    }
    fs::write(&path, [&good[..], &good[good.len() - 26..]].concat()).unwrap();
    assert!(matches!(DedupRun::open(&path), Err(UnusableRun::Damaged(_))), "by another tail");
    fs::write(&path, good).unwrap();
    assert!(answers_only_what_was_written(&path, &model, &probes));
}

#[test]
fn impossible_lengths_take_no_memory() {
    let TwoBlocks { directory: _directory, path, .. } = two_blocks();
    let good = fs::read(&path).unwrap();
    let tail = good.len() - 26;
    for at in [tail, tail + 8, tail + 12] {
        let mut bytes = good.clone();
        bytes[at..at + 4].fill(0xff);
        let footer = usize::try_from(u64::from_be_bytes(good[tail..tail + 8].try_into().unwrap())).unwrap();
        let crc = crc32c::crc32c(&bytes[footer..tail + 16]).to_be_bytes();
        bytes[tail + 16..tail + 20].copy_from_slice(&crc);
        fs::write(&path, bytes).unwrap();
        assert!(matches!(DedupRun::open(&path), Err(UnusableRun::Damaged(_))), "at {at}");
    }
}

/// Changes the header of the file, and sets the right checksum.
fn change_header(path: &Path, at: usize, new: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at..at + new.len()].copy_from_slice(new);
    let crc = crc32c::crc32c(&bytes[..header::CHECKED_BYTES]).to_be_bytes();
    bytes[header::CHECKED_BYTES..header::CHECKED_BYTES + 4].copy_from_slice(&crc);
    fs::write(path, bytes).unwrap();
}

/// Changes the format of the file.
pub(super) fn set_format(path: &Path, format: u8) {
    change_header(path, 3, &[format]);
}

#[test]
fn a_header_that_does_not_fit_the_blocks_is_found() {
    let TwoBlocks { directory: _directory, path, model, probes } = two_blocks();
    for keys in [0, 1, 141, 283, u64::MAX] {
        change_header(&path, 97, &u64::to_be_bytes(keys));
        assert!(matches!(DedupRun::open(&path), Err(UnusableRun::Damaged(_))), "{keys} keys");
    }
    change_header(&path, 97, &u64::to_be_bytes(149));
    assert!(!answers_only_what_was_written(&path, &model, &probes));
    change_header(&path, 97, &u64::to_be_bytes(150));
    assert!(answers_only_what_was_written(&path, &model, &probes));
    change_header(&path, 49, &u64::to_be_bytes(100));
    assert!(matches!(DedupRun::open(&path), Err(UnusableRun::Damaged(_))), "it ends before it begins");
}

#[test]
fn another_format_is_known_by_its_number() {
    let TwoBlocks { directory: _directory, path, .. } = two_blocks();
    set_format(&path, 4);
    assert!(matches!(DedupRun::open(&path), Err(UnusableRun::Newer(4))));
    open_to_change(&path).write_all_at(&[5], 3).unwrap();
    assert!(matches!(DedupRun::open(&path), Err(UnusableRun::Damaged(_))), "a flipped bit makes no newer format");
    open_to_change(&path).write_all_at(&[2], 3).unwrap();
    assert!(matches!(DedupRun::open(&path), Err(UnusableRun::Older(2))));
}
