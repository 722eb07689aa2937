//! Merges: the merged run has the keys of all its inputs, and the first record of a key stays.

use super::*;

fn merged(directory: &Path, inputs: &[Arc<DedupRun>]) -> Result<DedupRun, MergeError> {
    merge(directory, inputs, &mut AtOnce)
}

#[test]
fn adjacent_runs_become_one_and_stay_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(10);
    let bounds = [5, 300, 301, 1000, 1100];
    let entries: Vec<_> = bounds.windows(2).map(|pair| entries(&mut random, pair[0], pair[1])).collect();
    let mut inputs: Vec<_> = bounds
        .windows(2)
        .zip(&entries)
        .map(|(pair, entries)| write_run(directory.path(), pair[0], pair[1], entries))
        .collect();
    inputs.push(write_run(directory.path(), 1100, 1200, &[]));
    let before = names(directory.path());
    let run = merged(directory.path(), &inputs).unwrap();
    assert_eq!(run.header(), &header(5, 1200));
    check(&run, &model(&entries.concat()));
    check(&DedupRun::open(run.path()).unwrap(), &model(&entries.concat()));
    inputs.iter().zip(&entries).for_each(|(input, entries)| check(input, &model(entries)));
    let mut after = names(directory.path());
    after.retain(|name| !before.contains(name));
    assert_eq!(after, ["00000000000000000005-00000000000000001200.run"]);
}

#[test]
fn a_key_in_two_runs_keeps_the_lower_position() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(11);
    let first = entries(&mut random, 0, 200);
    let second: Vec<_> = first
        .iter()
        .map(|entry| KeyEntry { position: entry.position + 200, fingerprint: Fingerprint::UNKNOWN, ..*entry })
        .collect();
    let runs = [write_run(directory.path(), 0, 200, &first), write_run(directory.path(), 200, 400, &second)];
    let set = runs.iter().rev().fold(RunSet::default(), |set, run| set.with(run.clone()).unwrap());
    let merged = Arc::new(merged(directory.path(), &runs).unwrap());
    check(&merged, &model(&first));
    let merged_set = set.with_merged(merged).unwrap();
    assert_eq!((set.runs().len(), merged_set.runs().len()), (2, 1));
    for entry in &first {
        assert_eq!(set.find(entry.digest).unwrap(), Some(*entry));
        assert_eq!(merged_set.find(entry.digest).unwrap(), Some(*entry));
    }
}

#[test]
fn runs_that_are_apart_or_of_another_kind_are_not_merged() {
    let directory = tempfile::tempdir().unwrap();
    let run = |header| Arc::new(write(directory.path(), header, Vec::new(), &mut AtOnce).unwrap());
    let first = run(header(0, 10));
    let origin = RunOrigin { generation: 6, ..ORIGIN };
    let epoch = RunOrigin { identity: Identity { epoch: 9, ..ORIGIN.identity }, ..ORIGIN };
    let others = [
        header(11, 20),
        header(9, 20),
        RunHeader { origin, ..header(10, 21) },
        RunHeader { origin: epoch, ..header(10, 22) },
        RunHeader { fingerprint_version: 2, ..header(10, 23) },
    ];
    for other in others {
        let inputs = [first.clone(), run(other)];
        assert!(matches!(merged(directory.path(), &inputs), Err(MergeError::Apart(_))), "{other:?}");
    }
    assert!(matches!(merged(directory.path(), &[]), Err(MergeError::Apart(_))));
    let inputs = [first, run(header(10, 20))];
    check(&merged(directory.path(), &inputs).unwrap(), &Model::new());
}

#[test]
fn a_merge_of_a_damaged_run_says_which_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(12);
    let runs = [(0, 100), (100, 900)]
        .map(|(after, through)| write_run(directory.path(), after, through, &entries(&mut random, after, through)));
    let mut bytes = fs::read(runs[1].path()).unwrap();
    // A byte of the third block, so that some of the run is merged before it.
    bytes[3 * 4096 + 100] ^= 1;
    fs::write(runs[1].path(), bytes).unwrap();
    let before = names(directory.path());
    let Err(MergeError::Input(DedupRunError::Damaged { path, .. })) = merged(directory.path(), &runs) else {
        panic!("it is merged")
    };
    assert_eq!(path, runs[1].path());
    assert_eq!(names(directory.path()), before);
}
