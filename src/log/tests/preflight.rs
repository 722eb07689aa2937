//! sled's file damaged or torn: damage is refused before sled may write, what a crash leaves is not.

use std::fs;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::damage::copy_tree;
use super::*;
use crate::log::witness::Witness;

const SECTOR: usize = 512;
const SEGMENT: usize = 512 * 1024;
const FLIPS: usize = 32;

/// Bodies that do not compress, so that the log fills segments.
fn append_many(log: &Log, from: usize, count: usize) {
    let bodies = (from..from + count).map(|n| {
        let mut body = vec![0; 4000];
        StdRng::seed_from_u64(n as u64).fill_bytes(&mut body);
        delivery(&n.to_string(), &body)
    });
    assert!(append_all(log, bodies.collect()).iter().all(Result::is_ok));
}

fn image(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(directory, copy.path());
    copy
}

fn open(directory: &Path) -> Result<Log, String> {
    super::open(directory, options()).map_err(|error| format!("{error:?}"))
}

/// The log in the image with one bit flipped at each of many places: whole, or shut with every byte still to be had.
fn flip(image_of: &Path, events: usize, seed: u64) {
    let whole = fs::read(image_of.join("log/db")).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(used > 3 << 20, "several segments");
    let mut random = StdRng::seed_from_u64(seed);
    let mut before_sled = 0;
    let anywhere = (0..FLIPS).map(|n| used * n / FLIPS + random.random_range(0..used / FLIPS)).collect::<Vec<_>>();
    let headers = (0..used).step_by(SEGMENT).map(|segment| segment + random.random_range(0..20)).collect::<Vec<_>>();
    for at in anywhere.into_iter().chain(headers) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << random.random_range(0..8);
        let copy = image(image_of);
        fs::write(copy.path().join("log/db"), &bytes).unwrap();
        match open(copy.path()) {
            Ok(log) => {
                assert_eq!(read_all(&log.reader).len(), events, "seed {seed}, flip at {at}");
                close(log);
            }
            Err(error) => {
                before_sled += usize::from(error.contains("nothing was changed"));
                let gone = gone(copy.path(), &bytes);
                assert_eq!(gone, 0, "bytes gone after a flip at {at}, seed {seed}: {error}");
            }
        }
    }
    assert!(before_sled > 0, "seed {seed}: no flip was noticed before sled");
}

/// How many bytes are neither in sled's file nor in the kept copy.
fn gone(directory: &Path, original: &[u8]) -> usize {
    let now = fs::read(directory.join("log/db")).unwrap();
    let kept = fs::read(directory.join("log-tail.kept")).unwrap_or_default();
    let at = |bytes: &[u8], n: usize| bytes.get(n).copied().unwrap_or(0);
    (0..original.len()).filter(|n| at(&now, *n) != original[*n] && at(&kept, *n) != original[*n]).count()
}

#[test]
fn a_flipped_bit_of_a_closed_log_costs_no_other_byte() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).unwrap();
    append_many(&log, 0, 900);
    close(log);
    flip(directory.path(), 900, 1);
}

#[test]
fn a_flipped_bit_of_a_log_with_a_snapshot_costs_no_other_byte() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).unwrap();
    append_many(&log, 0, 400);
    close(log);
    let log = open(directory.path()).unwrap();
    append_many(&log, 400, 500);
    let crashed = image(directory.path());
    close(log);
    let snapshots = |path: &Path| {
        let names = fs::read_dir(path.join("log")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("snap.")).count()
    };
    assert_eq!((snapshots(directory.path()), snapshots(crashed.path())), (1, 1));
    flip(directory.path(), 900, 2);
    flip(crashed.path(), 900, 3);
}

#[test]
fn a_flipped_bit_of_a_log_that_crashed_costs_no_other_byte() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).unwrap();
    append_many(&log, 0, 900);
    let crashed = image(directory.path());
    close(log);
    flip(crashed.path(), 900, 4);
}

#[test]
fn what_sled_overwrites_of_a_damaged_last_block_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path()).unwrap();
    append_many(&log, 0, 300);
    close(log);
    let head = fs::read(directory.path().join("head")).unwrap();
    let chain = Witness::decode(&head).unwrap().chain_prefix;
    let file = directory.path().join("log/db");
    let mut bytes = fs::read(&file).unwrap();
    let found = bytes.windows(chain.len()).enumerate().filter(|(_, window)| *window == chain).map(|(at, _)| at);
    let found = found.collect::<Vec<_>>();
    assert!(!found.is_empty());
    for at in found {
        bytes[at] ^= 1;
    }
    fs::write(&file, &bytes).unwrap();
    let refused = open(directory.path()).err().unwrap();
    assert!(refused.contains("witness"), "{refused}");
    assert!(fs::read(&file).unwrap() != bytes, "sled overwrote nothing");
    assert_eq!(gone(directory.path(), &bytes), 0);
    assert!(open(directory.path()).is_err());
    assert_eq!(gone(directory.path(), &bytes), 0, "a second try costs what the first one kept");
}

/// Any sectors of what was written since the last sync may be on the disk after a crash, and any may not.
#[test]
fn what_a_crash_leaves_of_a_commit_is_never_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(5);
    let mut events = 0;
    let mut log = open(directory.path()).unwrap();
    let mut torn = 0;
    for round in 0..40 {
        if round % 13 == 12 {
            close(log);
            log = open(directory.path()).unwrap();
        }
        let before = image(directory.path());
        let acknowledged = events;
        let count = random.random_range(1..90);
        append_many(&log, events, count);
        events += count;
        let (old, new) =
            (fs::read(before.path().join("log/db")).unwrap(), fs::read(directory.path().join("log/db")).unwrap());
        let mut mixed = old.clone();
        mixed.resize(new.len(), 0);
        let kept = [0.0, 0.5, 0.9, 1.0][random.random_range(0..4)];
        for (sector, written) in mixed.chunks_mut(SECTOR).zip(new.chunks(SECTOR)) {
            if random.random_bool(kept) {
                sector.copy_from_slice(written);
            }
        }
        fs::write(before.path().join("log/db"), mixed).unwrap();
        let after = open(before.path()).unwrap_or_else(|error| panic!("round {round}, {kept} kept: {error}"));
        assert!(read_all(&after.reader).len() >= acknowledged, "round {round}");
        torn += usize::from(before.path().join("log-tail.kept").exists());
        close(after);
    }
    close(log);
    assert!(torn > 5, "only {torn} crashes tore the log");
}

/// A segment that sled uses again still holds, behind what a crash tore, what was there before; and a power cut may take the
/// last second of the witness, so that it names one of these.
#[test]
fn what_a_reused_segment_holds_from_before_is_never_taken_for_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(6);
    let log = open(directory.path()).unwrap();
    let mut heads = Vec::new();
    let mut again = 0;
    for round in 0..40 {
        for n in 0..40 {
            append(&log, &format!("{round}-{n}"), format!("{:0400x}", random.random::<u128>()).as_bytes()).unwrap();
            heads.push(fs::read(directory.path().join("head")).unwrap());
        }
        let before = image(directory.path());
        append(&log, &format!("{round}"), b"{}").unwrap();
        let old = fs::read(before.path().join("log/db")).unwrap();
        let new = fs::read(directory.path().join("log/db")).unwrap();
        again += usize::from(old.len() == new.len());
        for back in [1, 10, 100, 400, 1000].into_iter().filter(|back| *back <= heads.len()) {
            let crashed = image(before.path());
            fs::write(crashed.path().join("log/db"), &old).unwrap();
            fs::write(crashed.path().join("head"), &heads[heads.len() - back]).unwrap();
            let after = open(crashed.path()).unwrap_or_else(|error| panic!("round {round}, {back} back: {error}"));
            assert!(read_all(&after.reader).len() >= heads.len() - 1, "round {round}");
            close(after);
        }
        heads.push(fs::read(directory.path().join("head")).unwrap());
    }
    close(log);
    assert!(again > 10, "segments were used again in {again} rounds only");
}
