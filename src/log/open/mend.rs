//! Repairs what an examination found lost, damaged or left over, once everything else agrees: the small files, and the
//! leftovers of a crash between two steps of sealing or merging. Must not know the layout of the files.
//! Kept apart: nothing else of a start writes.

use std::fs::{self, File};
use std::io;

use super::error::OpenError;
use super::examine::Examined;
use crate::log::files::layout::DataFiles;
use crate::log::files::secret::{self, LogSecret};
use crate::log::files::{cleat_file, epochs};
use crate::log::journal;
use crate::storage::{AtOnce, StoreError, sweep};

impl Examined {
    /// Repairs the directory. `secret` is the one to write if the stored one is lost or damaged.
    pub fn mend(&self, files: &DataFiles, secret: &LogSecret) -> Result<(), OpenError> {
        if let Some(cleat) = &self.named.new_cleat {
            cleat_file::write(&files.cleat(), cleat)?;
        }
        if self.named.are_epochs_lost {
            epochs::write(&files.epochs(), &self.named.epochs)?;
        }
        if self.is_secret_damaged {
            secret::write(&files.secret(), secret)?;
        }
        self.remove_leftovers(files).map_err(|error| StoreError::new("remove the leftovers of a crash", error))?;
        Ok(())
    }

    fn remove_leftovers(&self, files: &DataFiles) -> io::Result<()> {
        let log = files.log();
        sweep(&log)?;
        journal::sweep(&log)?;
        for path in &self.sealed.covered {
            fs::remove_file(path)?;
        }
        for path in &self.sealed.unusable {
            fs::rename(path, path.with_extension("damaged"))?;
        }
        for sequence in &self.unsealed.removable {
            journal::remove(&log, *sequence, &mut AtOnce)?;
        }
        for sequence in &self.unsealed.aside {
            journal::set_aside(&log, *sequence)?;
        }
        File::open(&log)?.sync_all()
    }
}
