//! Tests of dedup runs: lost runs are rebuilt from the log, no key is missed meanwhile, and a start is never worse off
//! than without runs.

use std::fs;
use std::sync::{Condvar, Mutex};

use super::*;
use crate::log::dedup::Span;
use crate::log::files::layout::DataFiles;
use crate::log::journal_rotation::NotAccepting;
use crate::log::open::{gather, keys};

const EVENTS: u64 = 350;

fn options() -> LogOptions {
    LogOptions { dedup_run_events: 100, ..super::options() }
}

/// Creates a closed, sealed log with runs up to 100, 200 and 300.
fn filled(fresh: NewLog, prefix: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), LogOptions { fresh: fresh.clone(), ..options() }).unwrap();
    for n in 1..=EVENTS {
        append(&log, &format!("{prefix}{n}"), b"{}").unwrap();
    }
    close(log);
    let log = open(directory.path(), LogOptions { fresh, ..options() }).unwrap();
    wait_until_sealed(&log);
    close(log);
    assert_eq!(runs(directory.path()), [(0, 100), (100, 200), (200, 300)]);
    directory
}

fn run(directory: &Path, through: u64) -> std::path::PathBuf {
    directory.join(format!("dedup/{:020}-{through:020}.run", through - 100))
}

/// Returns the position before the first, and the last position, of each run.
fn runs(directory: &Path) -> Vec<(u64, u64)> {
    let names = names(&directory.join("dedup"));
    let span = |name: &String| {
        let (after, through) = name.strip_suffix(".run")?.split_once('-')?;
        Some((after.parse().ok()?, through.parse().ok()?))
    };
    names.iter().filter_map(span).collect()
}

/// Opens the log, and finds every key at its position.
fn check(directory: &Path) {
    let log = open(directory, options()).unwrap();
    assert_eq!(log.reader.head().position, EVENTS);
    wait_until_known(&log);
    for n in [1, 99, 100, 101, 250, 299, 300, 301, EVENTS] {
        let again = append(&log, &n.to_string(), b"{}").unwrap();
        assert_eq!((again.position, again.is_duplicate()), (n, true));
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
    // The leftover keys of the last process became one run.
    assert_eq!(runs(directory.path()), [(0, 100), (100, 200), (200, 300), (300, 350)]);
    let log = open(directory.path(), options()).unwrap();
    for n in [1, 300, 301, 350, 351, 420] {
        assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n);
    }
    close(log);
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_missing_damaged_or_foreign_run_is_made_again_and_no_other() {
    let whole = filled(options().fresh, "");
    let epoch = Identity { epoch: 2, ..IDENTITY };
    let other = filled(NewLog { identity: epoch, ..options().fresh }, "");
    let foreign = fs::read(run(other.path(), 100)).unwrap();
    let harms: [&dyn Fn(&Path); 6] = [
        &|directory| fs::remove_file(run(directory, 100)).unwrap(),
        &|directory| fs::remove_file(run(directory, 200)).unwrap(),
        &|directory| flip(&run(directory, 200), 50),
        &|directory| fs::OpenOptions::new().write(true).open(run(directory, 300)).unwrap().set_len(99).unwrap(),
        &|directory| fs::write(run(directory, 100), &foreign).unwrap(),
        &|directory| fs::remove_dir_all(directory.join("dedup")).unwrap(),
    ];
    for harm in harms {
        let copy = copy_of(whole.path());
        harm(copy.path());
        check(copy.path());
        check(copy.path());
        let runs = runs(copy.path());
        assert!(runs.windows(2).all(|pair| pair[0].1 == pair[1].0), "{runs:?}");
        assert_eq!((runs[0].0, runs.last().unwrap().1), (0, EVENTS), "{runs:?}");
    }
}

#[test]
fn a_lost_run_of_unsealed_events_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    for n in 1..=EVENTS {
        append(&log, &n.to_string(), b"{}").unwrap();
    }
    close(log);
    fs::remove_file(run(directory.path(), 200)).unwrap();
    let log = open(directory.path(), options()).unwrap();
    wait_until_known(&log);
    for n in 1..=EVENTS {
        assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n);
    }
    close(log);
}

/// A block of a run is read only when a filter points at it.
#[test]
fn a_run_that_is_found_damaged_while_it_is_read_is_made_again() {
    let directory = filled(options().fresh, "");
    flip(&run(directory.path(), 200), 4096 + 100);
    let log = open(directory.path(), options()).unwrap();
    assert!(matches!(append(&log, "150", b"{}"), Err(AppendError::NotAccepting(NotAccepting::KeysUnknown))));
    for _ in 0..4000 {
        match append(&log, "150", b"{}") {
            Ok(appended) => {
                assert_eq!((appended.position, appended.is_duplicate()), (150, true));
                close(log);
                return check(directory.path());
            }
            Err(AppendError::NotAccepting(NotAccepting::KeysUnknown)) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the run is not made again");
}

/// Permits for the thread that keeps runs to look at the clock. It looks before and after each lost run, and waits
/// there without a permit.
#[derive(Default)]
struct Permits(Mutex<u32>, Condvar);

impl Permits {
    fn give(&self, count: u32) {
        *self.0.lock().unwrap() += count;
        self.1.notify_all();
    }

    fn take(&self) {
        let permits = self.1.wait_while(self.0.lock().unwrap(), |permits| *permits == 0);
        *permits.unwrap() -= 1;
    }

    /// Opens a log with a clock that is this many hours ahead.
    fn open_later(self: &Arc<Self>, directory: &Path, hours: i64) -> Log {
        let permits = self.clone();
        let now = options().time.now;
        let now = move || {
            if std::thread::current().name() == Some("cleat-dedup") {
                permits.take();
            }
            now().plus_micros(hours * 3_600_000_000)
        };
        open(directory, LogOptions { time: TimeSource::trusted(Arc::new(now)), ..options() }).unwrap()
    }
}

fn imported(id: &str) -> Delivery {
    Delivery { provenance: Provenance::Import, ..delivery(id, b"{}") }
}

fn wait_until(log: &Log, coverage: Coverage) {
    while log.reader.run_view().coverage < coverage {
        std::thread::yield_now();
    }
}

#[test]
fn possible_duplicates_are_refused_while_keys_are_missing() {
    let directory = filled(options().fresh, "");
    fs::remove_dir_all(directory.path().join("dedup")).unwrap();
    let permits = Arc::new(Permits::default());
    let log = permits.open_later(directory.path(), 1);
    let is_refused = |delivery| {
        let refused = append_all(&log, vec![delivery]).remove(0);
        matches!(refused, Err(AppendError::NotAccepting(NotAccepting::KeysUnknown)))
    };
    assert!(is_refused(delivery("7", b"{}")) && is_refused(delivery("new", b"{}")) && is_refused(imported("7")));
    assert_eq!(log.reader.waits_for_keys(), Some(NotAccepting::KeysUnknown));
    permits.give(100);
    wait_until(&log, Coverage::Whole);
    assert_eq!(log.reader.waits_for_keys(), None);
    assert_eq!(append(&log, "7", b"{}").unwrap().position, 7);
    assert_eq!(append_all(&log, vec![imported("8")]).remove(0).unwrap().position, 8);
    close(log);
}

#[test]
fn webhooks_wait_for_the_keys_of_three_days_and_imports_for_all() {
    let directory = filled(options().fresh, "");
    let hours = 73;
    let permits = Arc::new(Permits::default());
    for _ in 0..2 {
        // The second process seals the events that the first appends.
        let log = permits.open_later(directory.path(), hours);
        (351..=450).for_each(|n| assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n));
        wait_until_sealed(&log);
        close(log);
    }
    fs::remove_dir_all(directory.path().join("dedup")).unwrap();
    // The machine's clock may be any time later.
    let log = permits.open_later(directory.path(), 10 * hours);
    let refusal = |delivery| append_all(&log, vec![delivery]).remove(0).unwrap_err();
    assert!(matches!(refusal(delivery("new", b"{}")), AppendError::NotAccepting(NotAccepting::KeysUnknown)));
    // The newest two of five runs. The second of them has events of both times.
    permits.give(4);
    wait_until(&log, Coverage::Newest);
    assert_eq!(append(&log, "new", b"{}").unwrap().position, 451);
    assert!(matches!(refusal(imported("7")), AppendError::NotAccepting(NotAccepting::KeysUnknown)));
    permits.give(100);
    wait_until(&log, Coverage::Whole);
    assert_eq!(append_all(&log, vec![imported("7")]).remove(0).unwrap().position, 7);
    close(log);
}

#[test]
fn what_the_system_refuses_to_read_for_a_moment_is_no_gap() {
    let directory = filled(options().fresh, "");
    fs::remove_dir_all(directory.path().join("dedup")).unwrap();
    let permits = Arc::new(Permits::default());
    let log = permits.open_later(directory.path(), 1);
    log.reader.store().refuse_reads(2);
    permits.give(100);
    wait_until(&log, Coverage::Whole);
    assert!((1..=EVENTS).all(|n| append(&log, &n.to_string(), b"{}").unwrap().position == n));
    close(log);
    assert_eq!(runs(directory.path()), [(0, 100), (100, 200), (200, 300), (300, 350)]);
}

#[test]
fn log_end_with_a_read_error_at_the_start_is_lost_for_now() {
    let directory = filled(options().fresh, "");
    let files = DataFiles::at(directory.path()).unwrap();
    let mut examined = gather(&files).unwrap();
    let loaded = keys::load(&examined, &files.dedup()).unwrap();
    let secret = keys::settle_secret(&mut examined, &loaded.set, &options().fresh);
    examined.store.refuse_reads(u32::MAX);
    let keys = keys::collect(&examined, &secret, loaded, &files.dedup(), 100).unwrap();
    assert_eq!(keys.lost, [Span { after: 300, through: EVENTS }]);
    assert_eq!(keys.index.view().coverage, Coverage::Partial);
}

#[test]
fn lost_keys_are_known_from_memory_where_no_run_can_be_written() {
    let directory = filled(options().fresh, "");
    fs::remove_dir_all(directory.path().join("dedup")).unwrap();
    let permits = Arc::new(Permits::default());
    let log = permits.open_later(directory.path(), 1);
    fs::remove_dir(directory.path().join("dedup")).unwrap();
    permits.give(100);
    wait_until(&log, Coverage::Whole);
    for n in [1, 150, EVENTS] {
        assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n);
    }
    close(log);
    assert!(!directory.path().join("dedup").exists());
}

#[test]
fn a_conflict_is_kept_once_though_the_first_is_in_a_lost_run() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    (1..=100).for_each(|n| assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n));
    let other: &[u8] = br#"{"data":1}"#;
    assert!(append(&log, "7", other).unwrap().outcome == AppendOutcome::Conflict);
    (102..=EVENTS).for_each(|n| assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n));
    close(log);
    fs::remove_file(run(directory.path(), 100)).unwrap();
    let permits = Arc::new(Permits::default());
    let log = permits.open_later(directory.path(), 1);
    // From now on its keys stay in memory.
    fs::remove_dir_all(directory.path().join("dedup")).unwrap();
    permits.give(100);
    wait_until(&log, Coverage::Whole);
    let again = append(&log, "7", other).unwrap();
    assert_eq!((again.position, again.outcome, again.reached.position), (7, AppendOutcome::Conflict, EVENTS));
    close(log);
}

#[test]
fn runs_are_saved_again_once_they_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    let runs_directory = directory.path().join("dedup");
    fs::remove_dir(&runs_directory).unwrap();
    for n in 1..=250 {
        append(&log, &n.to_string(), b"{}").unwrap();
    }
    // The keys are in memory until then.
    assert_eq!(append(&log, "1", b"{}").unwrap().position, 1);
    fs::create_dir(&runs_directory).unwrap();
    for _ in 0..4000 {
        if runs(directory.path()).len() == 2 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(runs(directory.path()), [(0, 100), (100, 200)]);
    for n in [1, 100, 101, 250] {
        assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n);
    }
    close(log);
}

#[test]
fn memory_for_keys_that_cannot_be_saved_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let options = || LogOptions { dedup_run_events: 1, ..super::options() };
    let log = open(directory.path(), options()).unwrap();
    fs::remove_dir(directory.path().join("dedup")).unwrap();
    let mut taken = 0;
    let refused = loop {
        match append(&log, &(taken + 1).to_string(), b"{}") {
            Ok(appended) => taken = appended.position,
            Err(refused) => break refused,
        }
        assert!(taken < 1000);
    };
    assert!(matches!(refused, AppendError::NotAccepting(NotAccepting::KeysUnsaved)), "{refused}");
    // An answer comes before its table is counted.
    assert!((96..=97).contains(&taken), "{taken}");
    assert_eq!(log.reader.waits_for_keys(), Some(NotAccepting::KeysUnsaved));
    close(log);
    let log = open(directory.path(), options()).unwrap();
    while log.reader.waits_for_keys().is_some() {
        std::thread::yield_now();
    }
    assert_eq!(append(&log, "1", b"{}").unwrap().position, 1);
    close(log);
}

#[test]
fn runs_are_merged_and_each_key_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let options = || LogOptions { dedup_run_events: 10, ..super::options() };
    let log = open(directory.path(), options()).unwrap();
    let events = 10 * 8 * 9;
    for n in 1..=events {
        append(&log, &n.to_string(), b"{}").unwrap();
    }
    for _ in 0..4000 {
        if runs(directory.path()).len() < 20 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let merged = runs(directory.path());
    assert!(merged.len() < 20 && merged[0].1 >= 80, "{merged:?}");
    assert!((1..=events).all(|n| append(&log, &n.to_string(), b"{}").unwrap().position == n));
    close(log);
    let log = open(directory.path(), options()).unwrap();
    assert!((1..=events).all(|n| append(&log, &n.to_string(), b"{}").unwrap().position == n));
    assert_eq!(log.reader.head().position, events);
    close(log);
}

#[test]
fn a_newer_run_is_refused_by_name_and_stays() {
    let directory = filled(options().fresh, "");
    let path = run(directory.path(), 200);
    let mut bytes = fs::read(&path).unwrap();
    bytes[3] = 9;
    let checked = 105;
    let crc = crc32c::crc32c(&bytes[..checked]);
    bytes[checked..checked + 4].copy_from_slice(&crc.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let refused = open(directory.path(), options()).err().unwrap().to_string();
    assert!(refused.contains("00000000000000000200.run has format 9"), "{refused}");
    assert!(path.exists());
}

#[test]
fn a_log_that_ends_before_its_runs_is_refused() {
    let directory = filled(options().fresh, "");
    // Takes the log and the witness from a younger copy.
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
        LogOptions { fresh: NewLog { secret: Zeroizing::new([9; 32]), ..options().fresh }, ..options() },
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
    append(&log, "later", b"{}").unwrap();
    close(log);
    let log_directory = directory.path().join("log");
    let segment = names(&log_directory).into_iter().find(|name| ends_with(name, ".seg")).unwrap();
    fs::remove_file(log_directory.join(segment)).unwrap();
    let log = open(directory.path(), options()).unwrap();
    assert!(matches!(log.reader.get(120), Err(ReadError::Damaged { .. })));
    let again = append(&log, "120", b"{}").unwrap();
    assert_eq!((again.position, again.is_duplicate()), (120, true), "a run has its key");
    let other = append(&log, "120", br#"{"data":1}"#).unwrap();
    assert_eq!((other.position, other.outcome), (120, AppendOutcome::Conflict), "and its content");
    close(log);
}

#[test]
fn a_segment_that_is_put_back_has_its_keys_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = || LogOptions { dedup_run_events: 10, ..super::options() };
    let log = open(directory.path(), super::options()).unwrap();
    (1..=30).for_each(|n| assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n));
    close(log);
    let log = open(directory.path(), super::options()).unwrap();
    wait_until_sealed(&log);
    close(log);
    fs::remove_dir_all(directory.path().join("dedup")).unwrap();
    let log_directory = directory.path().join("log");
    let name = names(&log_directory).into_iter().find(|name| ends_with(name, ".seg")).unwrap();
    let segment = fs::read(log_directory.join(&name)).unwrap();
    // The segment is empty, or without its end.
    for length in [0, segment.len() / 2] {
        fs::write(log_directory.join(&name), &segment[..length]).unwrap();
        let log = open(directory.path(), options()).unwrap();
        wait_until_known(&log);
        let head = log.reader.head().position;
        (head + 1..=head + 30).for_each(|n| assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n));
        close(log);
        fs::write(log_directory.join(&name), &segment).unwrap();
        let log = open(directory.path(), super::options()).unwrap();
        wait_until_known(&log);
        for n in [1, 30, head + 30] {
            assert_eq!(append(&log, &n.to_string(), b"{}").unwrap().position, n);
        }
        close(log);
    }
}
