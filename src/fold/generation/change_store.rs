//! The store of one generation's change log. It can be opened again under all who read it: after a failed write sled takes
//! nothing more. Knows nothing of what is stored.

use std::io;
use std::sync::{PoisonError, RwLock};

use super::files::Files;
use crate::blocklog::{Batch, Entry, Key, SledFiles, SledStore, Store, StoreError};

pub struct ChangeStore {
    files: Files,
    /// `None` if it could not be opened again.
    opened: RwLock<Option<SledStore>>,
}

impl ChangeStore {
    pub fn open(files: &Files) -> Result<Self, StoreError> {
        let opened = RwLock::new(Some(open(files)?));
        Ok(Self { files: files.clone(), opened })
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Closes it and opens it again. What was not synced may be gone.
    pub fn reopen(&self) -> Result<(), StoreError> {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        // The files are locked until the old handle is gone.
        drop(opened.take());
        *opened = Some(open(&self.files)?);
        Ok(())
    }

    fn with<T>(&self, access: impl FnOnce(&SledStore) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || StoreError::new("use the change log", "it could not be opened again");
        opened.as_ref().ok_or_else(closed).and_then(access)
    }
}

impl Store for ChangeStore {
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.with(|store| store.apply(batch))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.with(Store::sync)
    }

    fn get(&self, key: Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|store| store.get(key))
    }

    fn floor(&self, key: Key) -> Result<Option<Entry>, StoreError> {
        self.with(|store| store.floor(key))
    }
}

/// sled may abort the process on what it finds: a change log that is marked as being opened is not opened a second time. An
/// error is no reason for the mark to stay.
fn open(files: &Files) -> Result<SledStore, StoreError> {
    let marked = |error: io::Error| StoreError::new("mark the change log", error);
    files.mark_opening().map_err(marked)?;
    let opened = SledStore::open("change log", &SledFiles::of(files.changes()));
    files.unmark().map_err(marked)?;
    opened
}
