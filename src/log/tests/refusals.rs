//! Tests of the refusals of a start, each with a message that names the finding and without a change on disk, and of
//! its repairs.

use std::fs;

use super::*;
use crate::telemetry::with_causes;

const EVENTS: u64 = 60;

/// Creates a closed log of two segments and an unsealed journal.
fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let log = open(directory.path(), options()).unwrap();
        let head = log.reader.head().position;
        (head + 1..=head + EVENTS / 3)
            .for_each(|n| assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n));
        close(log);
    }
    directory
}

fn refused(directory: &Path) -> OpenError {
    let before = contents(directory);
    let error = open(directory, LogOptions { create: false, ..options() }).err().expect("it opened");
    assert_eq!(contents(directory), before, "a refused start changes nothing");
    error
}

/// Returns every directory, and every file but the lock, with its bytes.
fn contents(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for name in names(directory) {
        let path = directory.join(&name);
        if path.is_dir() {
            found.extend(contents(&path));
            found.push((path, Vec::new()));
        } else if name != "lock" {
            found.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    found
}

fn check_opens_whole(directory: &Path) {
    let log = open(directory, LogOptions { create: false, ..options() }).unwrap();
    let events = read_all(&log.reader);
    assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), (1..=EVENTS).collect::<Vec<_>>());
    assert!(append(&log, "7", b"{}").unwrap().is_duplicate());
    close(log);
}

#[test]
fn a_missing_or_empty_directory_is_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("not/mounted");
    let error = open(&missing, LogOptions { create: false, ..options() }).err().unwrap().to_string();
    assert!(error.contains("does not exist") && error.contains("cleat init"), "{error}");
    assert!(!missing.exists());
    let error = refused(directory.path()).to_string();
    assert!(error.contains("is empty") && error.contains("data.create"), "{error}");
    fs::write(directory.path().join("letter.txt"), b"mine").unwrap();
    assert!(refused(directory.path()).to_string().contains("letter.txt"));
}

#[test]
fn an_init_makes_a_log_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    init(&path, &options().fresh, None).unwrap();
    // Refused whatever an anchor says.
    let anchor = directory.path().join("anchor");
    fs::write(&anchor, b"damaged").unwrap();
    for anchor in [None, Some(&*anchor)] {
        assert!(with_causes(&init(&path, &options().fresh, anchor).unwrap_err()).contains("already"));
    }
    let log = open(&path, LogOptions { create: false, ..options() }).unwrap();
    assert_eq!((log.reader.identity(), log.reader.head().position), (IDENTITY, 0));
    close(log);
}

#[test]
fn a_log_put_back_from_an_older_copy_is_refused() {
    let directory = filled();
    let old_copy = tempfile::tempdir().unwrap();
    copy_tree(directory.path(), old_copy.path());
    let log = open(directory.path(), options()).unwrap();
    for n in EVENTS + 1..=EVENTS + 20 {
        append(&log, &n.to_string(), b"{}").unwrap();
    }
    close(log);
    fs::remove_dir_all(directory.path().join("log")).unwrap();
    copy_tree(&old_copy.path().join("log"), &directory.path().join("log"));
    let error = refused(directory.path());
    assert!(matches!(&error, OpenError::Shorter { ends: 60, seen: 80, .. }), "{error}");
    assert!(error.to_string().contains("witness") && error.to_string().contains("older copy"), "{error}");
    let dedup = directory.path().join("dedup");
    fs::write(dedup.join("00000000000000000999.new"), b"half").unwrap();
    refused(directory.path());
    fs::remove_dir_all(dedup).unwrap();
    refused(directory.path());
}

#[test]
fn a_log_that_ends_before_what_another_file_has_seen_is_refused() {
    let directory = filled();
    let head = Point { position: 100, chain: [1; 32], recorded_at: Timestamp::default() };
    let seen = vec![SeenPoint { by: "a checkpoint of the views".into(), identity: IDENTITY, head }];
    let error = open(directory.path(), LogOptions { seen, ..options() }).err().unwrap();
    assert!(matches!(&error, OpenError::Shorter { ends: 60, seen: 100, .. }), "{error}");
    let seen = vec![SeenPoint {
        by: "a checkpoint of the views".into(),
        identity: IDENTITY,
        head: Point { position: 50, ..head },
    }];
    let error = open(directory.path(), LogOptions { seen, ..options() }).err().unwrap();
    assert!(matches!(&error, OpenError::OtherHistory { position: 50, .. }), "{error}");
    let foreign = Identity { log_id: 9, epoch: 9 };
    let seen = vec![SeenPoint { by: "a checkpoint of the views".into(), identity: foreign, head }];
    let error = open(directory.path(), LogOptions { seen, ..options() }).err().unwrap();
    assert!(matches!(&error, OpenError::Foreign { .. }), "{error}");
}

#[test]
fn a_whole_directory_put_back_is_found_by_the_anchor() {
    let directory = filled();
    let old_copy = copy_of(directory.path());
    let volume = tempfile::tempdir().unwrap();
    let anchor = Some(volume.path().join("anchor"));
    let log = open(directory.path(), LogOptions { anchor: anchor.clone(), ..options() }).unwrap();
    append(&log, "later", b"{}").unwrap();
    close(log);
    let error = open(old_copy.path(), LogOptions { anchor: anchor.clone(), ..options() }).err().unwrap();
    assert!(matches!(&error, OpenError::Shorter { ends: 60, seen: 61, by } if by.contains("anchor")), "{error}");
    close(open(old_copy.path(), options()).unwrap());
    close(open(directory.path(), LogOptions { anchor: anchor.clone(), ..options() }).unwrap());
    let fresh = NewLog { identity: Identity { log_id: 2, epoch: 2 }, ..options().fresh };
    let other = tempfile::tempdir().unwrap();
    close(open(other.path(), LogOptions { fresh, ..options() }).unwrap());
    let error = open(other.path(), LogOptions { anchor, ..options() }).err().unwrap();
    assert!(matches!(error, OpenError::ForeignAnchor { .. }), "{error}");
}

#[test]
fn no_log_is_made_in_the_place_of_one_that_the_anchor_has_seen() {
    let volume = tempfile::tempdir().unwrap();
    let anchor = Some(volume.path().join("anchor"));
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), LogOptions { anchor: anchor.clone(), ..options() }).unwrap();
    append(&log, "1", b"{}").unwrap();
    close(log);
    let unmounted = tempfile::tempdir().unwrap();
    for says in ["has seen one up to position 1.", "may have seen one, and is damaged"] {
        let error = open(unmounted.path(), LogOptions { anchor: anchor.clone(), ..options() }).err().unwrap();
        assert!(error.to_string().contains(says), "{error}");
        let error = init(unmounted.path(), &options().fresh, anchor.as_deref()).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(names(unmounted.path()).is_empty());
        fs::write(volume.path().join("anchor"), b"damaged").unwrap();
    }
}

#[test]
fn a_missing_directory_of_the_log_is_refused_by_name() {
    let directory = filled();
    fs::remove_dir_all(directory.path().join("log")).unwrap();
    let error = refused(directory.path());
    assert!(matches!(&error, OpenError::Missing(path) if path.ends_with("log")), "{error}");
}

#[test]
fn a_lost_or_damaged_witness_is_written_again() {
    type Harm = fn(&Path);
    let harms: [Harm; 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, b"").unwrap(),
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[30] ^= 4;
            bytes[4096 + 30] ^= 4;
            fs::write(path, bytes).unwrap();
        },
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[30] ^= 4;
            fs::write(path, bytes).unwrap();
        },
    ];
    for harm in harms {
        let directory = filled();
        harm(&directory.path().join("witness"));
        check_opens_whole(directory.path());
        let inspection = open_read_only(directory.path()).unwrap().inspection;
        assert_eq!((inspection.witnessed, inspection.problems), (Some(EVENTS), Vec::<String>::new()));
    }
}

#[test]
fn a_lost_or_damaged_name_of_the_log_is_made_again() {
    for file in ["CLEAT", "EPOCHS"] {
        for harm in [true, false] {
            let directory = filled();
            let path = directory.path().join(file);
            let whole = fs::read(&path).unwrap();
            if harm {
                fs::remove_file(&path).unwrap();
            } else {
                fs::write(&path, &whole[..20]).unwrap();
            }
            check_opens_whole(directory.path());
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }
}

#[test]
fn parts_of_another_log_are_refused() {
    let ours = filled();
    let other = tempfile::tempdir().unwrap();
    let fresh = NewLog { identity: Identity { log_id: 2, epoch: 2 }, ..options().fresh };
    for _ in 0..2 {
        let log = open(other.path(), LogOptions { fresh: fresh.clone(), ..options() }).unwrap();
        append_all(&log, (0..60).map(|n| delivery(&n.to_string(), b"{}")).collect());
        close(log);
    }
    for part in ["witness", "CLEAT"] {
        let copy = copy_of(ours.path());
        fs::copy(other.path().join(part), copy.path().join(part)).unwrap();
        let error = refused(copy.path());
        assert!(matches!(error, OpenError::Foreign { .. }), "{part}: {error}");
    }
    let copy = copy_of(ours.path());
    fs::remove_dir_all(copy.path().join("log")).unwrap();
    copy_tree(&other.path().join("log"), &copy.path().join("log"));
    let error = refused(copy.path());
    assert!(matches!(error, OpenError::Foreign { .. } | OpenError::Shorter { .. }), "{error}");
}

#[test]
fn foreign_segment_within_our_range_is_refused_and_kept() {
    let sealed = |events: u64, identity| {
        let directory = tempfile::tempdir().unwrap();
        let fresh = NewLog { identity, ..options().fresh };
        for _ in 0..2 {
            let log = open(directory.path(), LogOptions { fresh: fresh.clone(), ..options() }).unwrap();
            append_all(&log, (0..events).map(|n| delivery(&n.to_string(), b"{}")).collect());
            wait_until_sealed(&log);
            close(log);
        }
        directory
    };
    let ours = sealed(60, IDENTITY);
    let other = sealed(3, Identity { log_id: 2, epoch: 2 });
    let name = "log/00000000000000000001-00000000000000000003.seg";
    fs::copy(other.path().join(name), ours.path().join(name)).unwrap();
    let error = refused(ours.path());
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(ours.path().join(name).exists());
}

#[test]
fn a_secret_of_another_log_is_taken_for_lost() {
    let other = tempfile::tempdir().unwrap();
    init(&other.path().join("data"), &NewLog::new(Identity { log_id: 2, epoch: 2 }, [6; 32]), None).unwrap();
    let secret = other.path().join("data/SECRET");
    // Once with the unsealed part, once with the dedup runs.
    for dedup_run_events in [u64::MAX, EVENTS / 3] {
        let options = || LogOptions { dedup_run_events, ..options() };
        let directory = tempfile::tempdir().unwrap();
        let log = open(directory.path(), options()).unwrap();
        (1..=EVENTS).for_each(|n| assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n));
        close(log);
        if dedup_run_events < EVENTS {
            // Only the runs are left to show it.
            let log = open(directory.path(), options()).unwrap();
            wait_until_sealed(&log);
            close(log);
        }
        fs::copy(&secret, directory.path().join("SECRET")).unwrap();
        for _ in 0..2 {
            check_opens_whole(directory.path());
        }
        assert_ne!(fs::read(&secret).unwrap(), fs::read(directory.path().join("SECRET")).unwrap());
    }
}

#[test]
fn a_read_only_open_reads_all_and_writes_nothing() {
    let directory = filled();
    let before = contents(directory.path());
    let ReadOnlyLog { reader, inspection } = open_read_only(directory.path()).unwrap();
    assert_eq!(read_all(&reader).len() as u64, EVENTS);
    assert_eq!((inspection.head.position, inspection.witnessed), (EVENTS, Some(EVENTS)));
    assert!(inspection.problems.is_empty(), "{:?}", inspection.problems);
    assert!(!inspection.segments.is_empty() && !inspection.journals.is_empty());
    assert_eq!(contents(directory.path()), before);
}

/// A data directory of each landed format must stay openable, permanently. Both were written by `cleat serve` and
/// `cleat send`: seven events in a segment, two in a journal that a kill left, and a dedup run of five. The seventh of
/// format 3 conflicts with the sixth.
#[test]
fn a_directory_of_each_landed_format_is_opened() {
    let chains = [(2, [0x25, 0x01, 0xc4, 0x5e, 0x5e, 0x1b, 0xf2, 0x5c]), (3, CHAIN_OF_FORMAT_3)];
    for (format, chain) in chains {
        let directory = copy_of_format(format);
        let ReadOnlyLog { reader, inspection } = open_read_only(directory.path()).unwrap();
        assert!(inspection.problems.is_empty(), "{:?}", inspection.problems);
        assert_eq!((inspection.segments.len(), inspection.head.position), (1, 9));
        assert_eq!(reader.get(9).unwrap().unwrap().chain[..8], chain);
        // A start raises the format, and the next one finds it raised.
        for _ in 0..2 {
            let log = open(directory.path(), LogOptions { create: false, ..options() }).unwrap();
            check_all_are_known(&log);
            close(log);
            let cleat = fs::read_to_string(directory.path().join("CLEAT")).unwrap();
            assert!(cleat.contains("\nformat 3\n"), "{cleat}");
        }
    }
}

const CHAIN_OF_FORMAT_3: [u8; 8] = [0xe5, 0xb7, 0x2c, 0x22, 0x05, 0x17, 0x2b, 0xa2];

/// Sends each of the nine events again, and expects the answer that it had.
fn check_all_are_known(log: &Log) {
    let events = read_all(&log.reader);
    assert_eq!(events.len(), 9);
    for (position, event) in (1..).zip(events) {
        let outcome = if event.conflict_of.is_some() { AppendOutcome::Conflict } else { AppendOutcome::Duplicate };
        let again = append_all(log, vec![event.delivery]).remove(0).unwrap();
        let first = event.conflict_of.unwrap_or(position);
        assert_eq!((again.position, again.outcome), (first, outcome));
    }
    assert_eq!(log.reader.head().position, 9);
}

fn copy_of_format(format: u8) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/directories/format-{format}"));
    copy_tree(&fixture, copy.path());
    copy
}
