//! Dedup runs: a start reads only what they do not cover, knows every key, and is never worse off than without them.

use std::fs;

use super::*;

const EVENTS: u64 = 350;

fn options() -> Options {
    Options { dedup_run_events: 100, ..super::options() }
}

/// A closed log with runs up to 100, 200 and 300.
fn filled(fresh: Fresh, prefix: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), Options { fresh, ..options() }).unwrap();
    for n in 1..=EVENTS {
        append(&log, &format!("{prefix}{n}"), b"{}").unwrap();
    }
    close(log);
    assert_eq!(runs(directory.path()), [100, 200, 300]);
    directory
}

fn run(directory: &Path, through: u64) -> std::path::PathBuf {
    directory.join(format!("dedup/{through:020}.run"))
}

fn runs(directory: &Path) -> Vec<u64> {
    let names = names(&directory.join("dedup"));
    names.iter().filter_map(|name| name.strip_suffix(".run")?.parse().ok()).collect()
}

/// Opens it, and finds every key where it was.
fn check(directory: &Path) {
    let log = open(directory, options()).unwrap();
    assert_eq!(log.reader.head().position, EVENTS);
    for n in [1, 99, 100, 101, 250, 299, 300, 301, EVENTS] {
        let again = append(&log, &n.to_string(), b"{}").unwrap();
        assert_eq!((again.position, again.duplicate), (n, true));
    }
    close(log);
}

#[test]
fn runs_go_on_after_a_restart_where_they_ended() {
    let directory = filled(options().fresh, "");
    let log = open(directory.path(), options()).unwrap();
    for n in EVENTS + 1..=420 {
        append(&log, &n.to_string(), b"{}").unwrap();
    }
    close(log);
    assert_eq!(runs(directory.path()), [100, 200, 300, 400]);
}

#[test]
fn a_missing_damaged_or_foreign_run_is_made_again_with_all_after_it() {
    let whole = filled(options().fresh, "");
    let epoch = Identity { epoch: 2, ..IDENTITY };
    let other = filled(Fresh { identity: epoch, ..options().fresh }, "");
    let foreign = fs::read(run(other.path(), 100)).unwrap();
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let harms: [&dyn Fn(&Path); 5] = [
        &|directory| fs::remove_file(run(directory, 100)).unwrap(),
        &|directory| fs::remove_file(run(directory, 200)).unwrap(),
        &|directory| flip(&run(directory, 200), 200),
        &|directory| fs::OpenOptions::new().write(true).open(run(directory, 300)).unwrap().set_len(99).unwrap(),
        &|directory| fs::write(run(directory, 100), &foreign).unwrap(),
    ];
    for harm in harms {
        let copy = copy_of(whole.path());
        harm(copy.path());
        check(copy.path());
        assert_eq!(runs(copy.path()).first(), Some(&100));
        assert!(runs(copy.path()).last().unwrap() >= &300);
    }
}

#[test]
fn a_newer_run_is_refused_by_name_and_stays() {
    let directory = filled(options().fresh, "");
    let path = run(directory.path(), 200);
    let mut bytes = fs::read(&path).unwrap();
    bytes[3] = 9;
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let refused = open(directory.path(), options()).err().unwrap().to_string();
    assert!(refused.contains("through 200 has format 9"), "{refused}");
    assert!(path.exists());
}

#[test]
fn a_log_that_ends_before_its_runs_is_refused() {
    let directory = filled(options().fresh, "");
    // The log and all that it says of itself, from a younger copy.
    let young = tempfile::tempdir().unwrap();
    let log = open(young.path(), options()).unwrap();
    append(&log, "1", b"{}").unwrap();
    close(log);
    fs::remove_dir_all(directory.path().join("log")).unwrap();
    copy_tree(&young.path().join("log"), &directory.path().join("log"));
    fs::copy(young.path().join("witness"), directory.path().join("witness")).unwrap();
    let refused = open(directory.path(), options()).err().unwrap();
    assert!(matches!(&refused, OpenError::Shorter { ends: 1, seen: 300, by } if by.contains("dedup")), "{refused}");
}

#[test]
fn runs_of_another_history_are_refused() {
    let ours = filled(options().fresh, "");
    let other = filled(options().fresh, "other-");
    for through in [100, 200, 300] {
        fs::copy(run(other.path(), through), run(ours.path(), through)).unwrap();
    }
    let refused = open(ours.path(), options()).err().unwrap();
    assert!(matches!(&refused, OpenError::OtherHistory { position: 300, .. }), "{refused}");
}

#[test]
fn a_lost_secret_is_made_again_and_every_key_is_known() {
    let directory = filled(options().fresh, "");
    fs::remove_file(directory.path().join("SECRET")).unwrap();
    let log = open(
        directory.path(),
        Options { fresh: Fresh { secret: Zeroizing::new([9; 32]), ..options().fresh }, ..options() },
    );
    close(log.unwrap());
    check(directory.path());
    check(directory.path());
}

#[test]
fn half_written_runs_are_swept() {
    let directory = filled(options().fresh, "");
    fs::write(directory.path().join("dedup/00000000000000000999.new"), b"half").unwrap();
    check(directory.path());
    assert!(!names(&directory.path().join("dedup")).iter().any(|name| ends_with(name, ".new")));
}

#[test]
fn a_retry_of_an_event_that_cannot_be_read_is_answered() {
    let directory = filled(options().fresh, "");
    let log = open(directory.path(), options()).unwrap();
    wait_until_sealed(&log);
    append(&log, "later", b"{}").unwrap();
    close(log);
    let log_directory = directory.path().join("log");
    let segment = names(&log_directory).into_iter().find(|name| ends_with(name, ".seg")).unwrap();
    fs::remove_file(log_directory.join(segment)).unwrap();
    let log = open(directory.path(), options()).unwrap();
    assert!(matches!(log.reader.get(120), Err(ReadError::Damaged { .. })));
    let again = append(&log, "120", b"{}").unwrap();
    assert_eq!((again.position, again.duplicate), (120, true), "a run has its key");
    close(log);
}

#[test]
fn a_segment_that_is_put_back_has_its_keys_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options { dedup_run_events: 10, ..super::options() };
    let log = open(directory.path(), super::options()).unwrap();
    (1..=30).for_each(|n| assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n));
    close(log);
    let log = open(directory.path(), super::options()).unwrap();
    wait_until_sealed(&log);
    close(log);
    let log_directory = directory.path().join("log");
    let name = names(&log_directory).into_iter().find(|name| ends_with(name, ".seg")).unwrap();
    let segment = fs::read(log_directory.join(&name)).unwrap();
    // Gone, or without its end.
    for length in [0, segment.len() / 2] {
        fs::write(log_directory.join(&name), &segment[..length]).unwrap();
        let log = open(directory.path(), options()).unwrap();
        let head = log.reader.head().position;
        (head + 1..=head + 30).for_each(|n| assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n));
        close(log);
        fs::write(log_directory.join(&name), &segment).unwrap();
        let log = open(directory.path(), super::options()).unwrap();
        for n in [1, 30, head + 30] {
            assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n);
        }
        close(log);
    }
}
