//! Directory of runs at a start: after crashes, damage, merges and other versions.

use super::damage::set_format;
use super::*;

/// Writes runs that cover these positions, with one key for each position.
fn runs(directory: &Path, spans: &[(Position, Position)]) -> Vec<Arc<DedupRun>> {
    let mut random = StdRng::seed_from_u64(13);
    let run = |(after, through): &(Position, Position)| {
        write_run(directory, *after, *through, &entries(&mut random, *after, *through))
    };
    spans.iter().map(run).collect()
}

/// Loads a directory. Checks that this changes nothing.
fn loaded(directory: &Path) -> Loaded {
    let before = names(directory);
    let loaded = load(directory, is_ours).unwrap();
    assert_eq!(names(directory), before);
    loaded
}

fn spans(set: &RunSet) -> Vec<(Position, Position)> {
    set.runs().iter().map(|run| (run.span().after, run.span().through)).collect()
}

fn gaps(set: &RunSet, through: Position) -> Vec<(Position, Position)> {
    set.gaps(through).into_iter().map(|gap| (gap.after, gap.through)).collect()
}

#[test]
fn a_directory_that_is_missing_or_empty_has_no_runs() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("dedup");
    let nothing = load(&missing, is_ours).unwrap();
    assert!(spans(&nothing.set).is_empty() && nothing.covered.is_empty() && nothing.unusable.is_empty());
    assert!(!missing.exists());
    prepare(&missing).unwrap();
    prepare(&missing).unwrap();
    assert!(spans(&loaded(&missing).set).is_empty());
}

#[test]
fn what_a_crash_left_half_written_is_no_run_and_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    let kept = runs(directory.path(), &[(0, 10), (10, 20)]);
    let whole = fs::read(kept[1].path()).unwrap();
    let left = Span { after: 20, through: 30 }.temporary_path(directory.path());
    fs::write(&left, &whole[..5000]).unwrap();
    let found = loaded(directory.path());
    assert_eq!((spans(&found.set), found.unusable.len()), (vec![(0, 10), (10, 20)], 0));
    runs(directory.path(), &[(20, 30)]);
    assert_eq!(spans(&loaded(directory.path()).set), [(0, 10), (10, 20), (20, 30)], "it is in nobody's way");
    fs::write(&left, &whole[..5000]).unwrap();
    prepare(directory.path()).unwrap();
    assert_eq!(names(directory.path()).len(), 3);
    assert_eq!(spans(&loaded(directory.path()).set), [(0, 10), (10, 20), (20, 30)]);
}

#[test]
fn gaps_are_what_no_run_covers() {
    let directory = tempfile::tempdir().unwrap();
    runs(directory.path(), &[(20, 30), (5, 10), (10, 15)]);
    let set = loaded(directory.path()).set;
    assert_eq!(spans(&set), [(5, 10), (10, 15), (20, 30)]);
    assert_eq!(gaps(&set, 40), [(0, 5), (15, 20), (30, 40)]);
    assert_eq!(gaps(&set, 30), [(0, 5), (15, 20)]);
    assert_eq!(gaps(&set, 17), [(0, 5), (15, 17)]);
    assert_eq!(gaps(&set, 3), [(0, 3)]);
    assert_eq!(gaps(&set, 0), []);
    assert_eq!(gaps(&RunSet::default(), 7), [(0, 7)]);
    let run = set.runs()[1].clone();
    assert_eq!(gaps(&set.without(&run), 30), [(0, 5), (10, 20)]);
    let again = Arc::new(DedupRun::open(run.path()).unwrap());
    assert_eq!(spans(&set.without(&again)), spans(&set), "it is another one");
    assert!(set.has(&run) && !set.has(&again));
}

#[test]
fn interrupted_merge_loads_as_its_result_with_any_inputs_left() {
    let directory = tempfile::tempdir().unwrap();
    let kept = runs(directory.path(), &[(0, 10), (10, 20), (20, 30), (30, 40)]);
    merge(directory.path(), &kept[1..3], &mut AtOnce).unwrap();
    let found = loaded(directory.path());
    assert_eq!(spans(&found.set), [(0, 10), (10, 30), (30, 40)]);
    assert_eq!(found.covered, [kept[1].path(), kept[2].path()]);
    assert!(found.unusable.is_empty());
    remove(directory.path(), [kept[1].path()]).unwrap();
    let found = loaded(directory.path());
    assert_eq!(
        (spans(&found.set), found.covered),
        (vec![(0, 10), (10, 30), (30, 40)], vec![kept[2].path().to_owned()])
    );
    remove(directory.path(), kept[1..3].iter().map(|run| run.path())).unwrap();
    let found = loaded(directory.path());
    assert_eq!((found.set.keys(), found.covered.len(), names(directory.path()).len()), (40, 0, 3));
    for entry in kept.iter().flat_map(|run| all(run)) {
        assert!(found.set.may_contain(entry.digest));
        assert_eq!(found.set.find(entry.digest).unwrap(), Some(entry));
    }
}

#[test]
fn inputs_stay_in_use_if_the_merged_run_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let kept = runs(directory.path(), &[(0, 10), (10, 20)]);
    let merged = merge(directory.path(), &kept, &mut AtOnce).unwrap();
    fs::write(merged.path(), b"cdr\x03").unwrap();
    let found = loaded(directory.path());
    assert_eq!((spans(&found.set), found.covered.len()), (vec![(0, 10), (10, 20)], 0));
    assert_eq!(found.unusable[0].path, merged.path());
}

#[test]
fn the_shorter_of_two_partly_overlapping_runs_is_unusable() {
    let directory = tempfile::tempdir().unwrap();
    let kept = runs(directory.path(), &[(0, 10), (5, 30), (29, 31), (20, 25), (40, 50), (45, 55)]);
    let found = loaded(directory.path());
    assert_eq!(spans(&found.set), [(5, 30), (40, 50)]);
    assert_eq!(found.covered, [kept[3].path()]);
    let mut unusable: Vec<_> = found.unusable.iter().map(|file| file.path.clone()).collect();
    unusable.sort_unstable();
    assert_eq!(unusable, [0, 2, 5].map(|number: usize| kept[number].path().to_owned()));
    assert!(found.unusable.iter().all(|file| matches!(file.source, UnusableRun::Overlapping)));
}

#[test]
fn a_set_takes_no_run_that_overlaps_unless_it_covers() {
    let directory = tempfile::tempdir().unwrap();
    let all = runs(directory.path(), &[(0, 10), (10, 20), (5, 15), (0, 20), (30, 40)]);
    let set = RunSet::default().with(all[1].clone()).unwrap().with(all[0].clone()).unwrap();
    let new = Span { after: 5, through: 15 };
    let existing = Span { after: 0, through: 10 };
    assert_eq!(set.with(all[2].clone()).unwrap_err(), Overlap { new, existing });
    assert_eq!(set.with_merged(all[2].clone()).unwrap_err(), Overlap { new, existing });
    assert!(set.with(all[3].clone()).is_err());
    let set = set.with(all[4].clone()).unwrap().with_merged(all[3].clone()).unwrap();
    assert_eq!(spans(&set), [(0, 20), (30, 40)]);
    assert_eq!(set.keys(), 30);
    assert_eq!(set.memory_bytes(), all[3].memory_bytes() + all[4].memory_bytes());
}

#[test]
fn unusable_run_is_named_with_its_reason_and_stops_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let kept = runs(directory.path(), &[(0, 10), (10, 20), (20, 30)]);
    let at = |name: &str| directory.path().join(name);
    let foreign = RunHeader { origin: RunOrigin { generation: 6, ..ORIGIN }, ..header(30, 40) };
    let foreign = write(directory.path(), foreign, Vec::new(), &mut AtOnce).unwrap();
    fs::write(at("00000000000000000300.run"), b"cdr\x02 and what format 2 had").unwrap();
    fs::copy(kept[1].path(), at("00000000000000000010-00000000000000000021.run")).unwrap();
    fs::copy(kept[1].path(), at("10-20.run")).unwrap();
    fs::create_dir(at("00000000000000000050-00000000000000000060.run")).unwrap();
    fs::write(at("00000000000000000060-00000000000000000070.run"), b"").unwrap();
    fs::write(at("notes"), b"not ours").unwrap();
    let found = loaded(directory.path());
    assert_eq!(spans(&found.set), [(0, 10), (10, 20), (20, 30)]);
    assert_eq!(found.unusable.len(), 6);
    let is = |file: &UnusableFile, path: &Path| file.path == path;
    let reason = |path: &Path| &found.unusable.iter().find(|file| is(file, path)).unwrap().source;
    assert!(matches!(reason(foreign.path()), UnusableRun::Foreign));
    assert!(matches!(reason(&at("00000000000000000300.run")), UnusableRun::Older(2)));
    assert!(matches!(reason(&at("00000000000000000010-00000000000000000021.run")), UnusableRun::Damaged(_)));
    assert!(matches!(reason(&at("10-20.run")), UnusableRun::Damaged(_)));
    assert!(matches!(reason(&at("00000000000000000050-00000000000000000060.run")), UnusableRun::Io(_)));
    assert!(matches!(reason(&at("00000000000000000060-00000000000000000070.run")), UnusableRun::Damaged(_)));
}

#[test]
fn a_newer_format_refuses_the_start_by_the_name_of_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let kept = runs(directory.path(), &[(0, 10), (10, 20)]);
    set_format(kept[1].path(), 4);
    let before = names(directory.path());
    let Err(LoadError::Newer { path, format }) = load(directory.path(), is_ours) else { panic!("it loads") };
    assert_eq!((path.as_path(), format), (kept[1].path(), 4));
    assert_eq!(names(directory.path()), before);
}
