//! Data directory: created in order, finished by the next init if one was cut, locked, and recognised.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::tempdir;

use super::{IDENTITY, flips, mode, witness};
use crate::event::Identity;
use crate::log::files::file::FileError;
use crate::log::files::layout::{DataFiles, DataLock, FoundDirectory, InitError, LockError, NewLog, init, look};
use crate::log::files::secret::{self, SecretRead};
use crate::log::files::witness::{self, WitnessState};
use crate::log::files::{cleat_file, epochs, sector, text};

/// Names in the order in which they are created.
const STEPS: [&str; 5] = ["log", "SECRET", "EPOCHS", "witness", "CLEAT"];

fn make(path: &Path, identity: Identity) -> Result<DataLock, InitError> {
    init(path, &NewLog::new(identity, [6; 32]))
}

fn made(path: &Path) -> DataFiles {
    drop(make(path, IDENTITY).unwrap());
    DataFiles::at(path).unwrap()
}

fn assert_is_complete(path: &Path, identity: Identity) {
    let files = DataFiles::at(path).unwrap();
    let cleat = cleat_file::read(&files.cleat()).unwrap();
    assert_eq!((cleat.log_id, cleat.made_by.as_str()), (identity.log_id, "0.1.0"));
    assert_eq!(look(path).unwrap(), FoundDirectory::Initialised(cleat));
    let epochs = epochs::read(&files.epochs()).unwrap();
    assert_eq!((epochs.last().id, epochs.last().from, epochs.all().len()), (identity.epoch, 1, 1));
    assert!(matches!(secret::read(&files.secret()).unwrap(), SecretRead::Whole(secret) if *secret.key == [6; 32]));
    let read = witness::read(&files.witness()).unwrap();
    let newest = read.newest.unwrap();
    assert_eq!((read.state, newest.identity, newest.head.position), (WitnessState::Whole, identity, 0));
    assert_eq!(newest.head.chain, epochs.last().before);
    for file in [files.cleat(), files.epochs(), files.secret(), files.witness(), files.lock()] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(&files.log()), 0o700);
}

/// Returns everything below a directory, with its bytes. Directories have none.
fn tree(path: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut tree = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let is_directory = path.is_dir();
        tree.extend(if is_directory { self::tree(&path) } else { BTreeMap::new() });
        tree.insert(path.clone(), (!is_directory).then(|| fs::read(&path).unwrap()));
    }
    tree
}

#[test]
fn init_makes_all_that_is_missing_above_and_below() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("a/b/data");
    assert_eq!(look(&path).unwrap(), FoundDirectory::Missing);
    made(&path);
    assert_is_complete(&path, IDENTITY);
    for made in ["a", "a/b", "a/b/data"] {
        assert_eq!(mode(&directory.path().join(made)), 0o700);
    }
}

#[test]
fn init_keeps_the_directory_locked() {
    let directory = tempdir().unwrap();
    let lock = make(directory.path(), IDENTITY).unwrap();
    let files = DataFiles::at(directory.path()).unwrap();
    let refused = files.lock_exclusively().unwrap_err();
    assert_eq!(refused.to_string(), "another process uses it; is `cleat serve` running?");
    assert!(matches!(files.lock_for_reading(), Err(LockError::InUse)));
    drop(lock);
    let reader = files.lock_for_reading().unwrap();
    assert!(reader.is_some() && files.lock_for_reading().unwrap().is_some(), "readers share");
    assert!(matches!(files.lock_exclusively(), Err(LockError::InUse)));
}

#[test]
fn directories_are_synced_with_or_without_runs() {
    let directory = tempdir().unwrap();
    let files = made(&directory.path().join("data"));
    files.sync_directories().unwrap();
    fs::create_dir(files.dedup()).unwrap();
    files.sync_directories().unwrap();
}

#[test]
fn lock_for_reading_makes_no_file() {
    let directory = tempdir().unwrap();
    let files = made(&directory.path().join("data"));
    fs::remove_file(files.lock()).unwrap();
    let before = tree(files.path());
    assert!(files.lock_for_reading().unwrap().is_none());
    assert_eq!(tree(files.path()), before);
}

#[test]
fn init_that_failed_at_a_step_did_all_before_it_and_is_finished() {
    for (step, name) in STEPS.iter().enumerate().skip(1) {
        let directory = tempdir().unwrap();
        // A directory with the name of the temporary file makes this one step fail.
        let blocker = directory.path().join(format!("{name}.new"));
        fs::create_dir(&blocker).unwrap();
        assert!(matches!(make(directory.path(), IDENTITY), Err(InitError::File(FileError::Io { .. }))), "{name}");
        let there = STEPS.map(|name| directory.path().join(name).exists());
        assert_eq!(there, [0, 1, 2, 3, 4].map(|made| made < step), "{name}");
        assert_eq!(look(directory.path()).unwrap(), FoundDirectory::Unfinished);
        fs::remove_dir(&blocker).unwrap();
        let other = Identity { log_id: 1, epoch: 2 };
        drop(make(directory.path(), other).unwrap());
        assert_is_complete(directory.path(), other);
    }
}

#[test]
fn init_that_was_cut_is_finished_whatever_it_left() {
    for done in 0..STEPS.len() {
        for (left, is_lock_left) in [("", true), ("half of a file", false)] {
            let directory = tempdir().unwrap();
            let files = made(directory.path());
            for name in &STEPS[done..] {
                let path = directory.path().join(name);
                if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }.unwrap();
            }
            if !is_lock_left {
                fs::remove_file(files.lock()).unwrap();
            }
            if STEPS[done] != "log" {
                fs::write(directory.path().join(format!("{}.new", STEPS[done])), left).unwrap();
            }
            let is_empty = fs::read_dir(directory.path()).unwrap().next().is_none();
            let expected = if is_empty { FoundDirectory::Empty } else { FoundDirectory::Unfinished };
            assert_eq!(look(directory.path()).unwrap(), expected, "after {done} steps");
            let other = Identity { log_id: 3, epoch: 4 };
            drop(make(directory.path(), other).unwrap());
            assert_is_complete(directory.path(), other);
            let names = fs::read_dir(directory.path()).unwrap().count();
            assert_eq!(names, STEPS.len() + 1, "nothing is left over");
        }
    }
}

#[test]
fn init_accepts_the_root_of_a_volume() {
    let directory = tempdir().unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    fs::write(directory.path().join(".keep"), "").unwrap();
    assert_eq!(look(directory.path()).unwrap(), FoundDirectory::Empty);
    made(directory.path());
    assert_is_complete(directory.path(), IDENTITY);
}

/// Checks that a spoiled directory refuses an init, which then changes nothing.
fn assert_refused(spoil: impl Fn(&DataFiles), expected: &FoundDirectory) {
    let directory = tempdir().unwrap();
    let files = made(directory.path());
    spoil(&files);
    let before = tree(directory.path());
    assert_eq!(look(directory.path()).unwrap(), *expected);
    let refused = make(directory.path(), IDENTITY).map(drop).unwrap_err();
    let is_right = match expected {
        FoundDirectory::Initialised(_) => matches!(refused, InitError::Initialised(_)),
        FoundDirectory::NotOurs(_) => matches!(refused, InitError::NotOurs { .. }),
        _ => matches!(refused, InitError::HoldsLog(_)),
    };
    assert!(is_right, "{refused}");
    assert_eq!(tree(directory.path()), before);
}

#[test]
fn directory_with_a_log_and_no_cleat_file_is_never_made_again() {
    let lost = |make: &dyn Fn(&DataFiles)| {
        assert_refused(
            |files| {
                fs::remove_file(files.cleat()).unwrap();
                make(files);
            },
            &FoundDirectory::CleatLost,
        );
    };
    lost(&|files| fs::write(files.log().join("00000000000000000001-00000000000000000009.seg"), "").unwrap());
    lost(&|files| fs::create_dir(files.log().join(format!("journal-{:020}", 1))).unwrap());
    lost(&|files| fs::create_dir(files.log().join("journal-00000000000000000001.gone")).unwrap());
    lost(&|files| fs::write(files.witness(), witness::first_file(Some(witness(1)))).unwrap());
    lost(&|files| fs::write(files.witness(), "damaged").unwrap());
    lost(&|files| fs::write(files.witness(), sector::seal(*b"cleatwit", 2, b"")).unwrap());
    lost(&|files| {
        fs::create_dir(files.dedup()).unwrap();
        fs::write(files.dedup().join("00000000000000000009.run"), "").unwrap();
    });
    lost(&|files| {
        fs::create_dir(files.views()).unwrap();
        fs::create_dir(files.views().join("1")).unwrap();
    });
}

#[test]
fn directory_with_a_damaged_cleat_file_is_never_made_again() {
    let directory = tempdir().unwrap();
    let bytes = fs::read(made(directory.path()).cleat()).unwrap();
    for (_, flipped) in flips(&bytes).step_by(97) {
        assert_refused(|files| fs::write(files.cleat(), &flipped).unwrap(), &FoundDirectory::CleatLost);
    }
    assert_refused(|files| fs::write(files.cleat(), "").unwrap(), &FoundDirectory::CleatLost);
}

#[test]
fn directory_that_is_complete_is_never_made_again() {
    let directory = tempdir().unwrap();
    let cleat = cleat_file::read(&made(directory.path()).cleat()).unwrap();
    let expected = FoundDirectory::Initialised(cleat);
    assert_refused(|_| {}, &expected);
    assert_refused(|files| fs::write(files.path().join("notes.txt"), "").unwrap(), &expected);
}

#[test]
fn directory_of_others_is_left_alone_and_names_the_file() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "").unwrap();
    fs::write(directory.path().join("lock"), "").unwrap();
    let before = tree(directory.path());
    assert_eq!(look(directory.path()).unwrap(), FoundDirectory::NotOurs("thesis.tex".into()));
    let refused = make(directory.path(), IDENTITY).map(drop).unwrap_err();
    assert!(refused.to_string().ends_with("holds `thesis.tex`, which is no file of cleat's"), "{refused}");
    assert_eq!(tree(directory.path()), before);
    let in_log = |files: &DataFiles| {
        fs::remove_file(files.cleat()).unwrap();
        fs::write(files.log().join("db"), "").unwrap();
    };
    assert_refused(in_log, &FoundDirectory::NotOurs("log/db".into()));
}

#[test]
fn directory_of_a_newer_format_is_refused_by_name() {
    let directory = tempdir().unwrap();
    let files = made(directory.path());
    fs::write(files.cleat(), text::seal("cleat data directory", 4, "made by cleat 2.0.0\n")).unwrap();
    assert!(matches!(look(directory.path()), Err(FileError::Newer { format: 4, .. })));
    let refused = make(directory.path(), IDENTITY).map(drop).unwrap_err();
    assert!(refused.to_string().contains("a newer version of cleat wrote: cleat 2.0.0"), "{refused}");
}

#[test]
fn path_to_a_file_is_an_error() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "").unwrap();
    assert!(matches!(look(&path), Err(FileError::Io { .. })));
}
