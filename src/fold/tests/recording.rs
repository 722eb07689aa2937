//! The change log while it is written: what can be read when, and a disk that fails.

use std::sync::Arc;

use tempfile::TempDir;

use crate::blocklog::{Batch, Entry, Key, SledFiles, SledStore, Store, StoreError};
use crate::event::{Hash, Timestamp};
use crate::fold::entity::Mark;
use crate::fold::recorder::Recorder;

/// A disk that takes nothing.
struct Gone;

impl Store for Gone {
    fn apply(&self, _: &Batch) -> Result<(), StoreError> {
        Err(StoreError::new("write", "the disk is gone"))
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn get(&self, _: Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn floor(&self, _: Key) -> Result<Option<Entry>, StoreError> {
        Ok(None)
    }
}

/// Positions up to `last`, none of which changes anything.
fn record(recorder: &mut Recorder, last: u64) -> Result<(), StoreError> {
    (recorder.next()..=last).try_for_each(|position| {
        let mark = Mark { position, recorded_at: Timestamp::from_micros(position.cast_signed()) };
        recorder.record(mark, Hash::default(), None)
    })
}

#[test]
fn what_was_recorded_can_be_read_once_it_is_written_and_not_before() {
    let directory = TempDir::new().unwrap();
    let files = SledFiles::of(directory.path().join("changes"));
    let store = SledStore::open("change log", &files).unwrap();
    let (mut recorder, log) = Recorder::new(Arc::new(store), 0, Hash::default()).unwrap();
    record(&mut recorder, 1000).unwrap();
    assert_eq!((recorder.next(), recorder.next_unwritten(), log.end().unwrap()), (1001, 1, None));
    recorder.write().unwrap();
    assert_eq!((recorder.next_unwritten(), log.end().unwrap()), (1001, Some((1000, Hash::default()))));
    record(&mut recorder, 1001).unwrap();
    recorder.sync().unwrap();
    assert_eq!((recorder.next_unwritten(), log.end().unwrap().unwrap().0), (1002, 1001));
    assert!(log.at(1001, &|_| Ok(())).unwrap().is_none());
}

#[test]
fn a_disk_that_fails_is_told_of_by_what_waits_for_it_and_by_all_that_comes_after() {
    let (mut recorder, _) = Recorder::new(Arc::new(Gone), 0, Hash::default()).unwrap();
    record(&mut recorder, 1).unwrap();
    assert_eq!(recorder.sync().unwrap_err().to_string(), "cannot write: the disk is gone");
    assert!(recorder.write().is_err() && recorder.sync().is_err());
    assert!(record(&mut recorder, 1000).is_err());
}
