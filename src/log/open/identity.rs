//! Finds which log a directory holds: as `CLEAT` and `EPOCHS` say, or, if these are lost, as its segments and its
//! witness say. Must not write.

use std::path::Path;

use super::error::OpenError;
use super::notes::Notes;
use super::sealed;
use crate::event::Identity;
use crate::log::files::cleat_file::{self, CleatFile, FORMAT};
use crate::log::files::epochs::{self, Epoch, Epochs};
use crate::log::files::file::FileError;
use crate::log::files::layout::DataFiles;
use crate::log::files::witness::Witness;
use crate::log::format;
use crate::segment::{SegmentError, SegmentHeader};

/// Name of a log, and which of the two files must be written.
pub(in crate::log) struct Naming {
    pub log_id: u128,
    pub epochs: Epochs,
    /// File to write in place of one that is lost, or of an older format. `None` if the file is right.
    pub new_cleat: Option<CleatFile>,
    pub are_epochs_lost: bool,
}

impl Naming {
    /// Returns the identity in the newest epoch.
    pub fn identity(&self) -> Identity {
        Identity { log_id: self.log_id, epoch: self.epochs.last().id }
    }
}

/// Finds the name of the log. Refuses a newer format, and a log that no file names.
pub(in crate::log) fn find(
    files: &DataFiles,
    witness: Option<&Witness>,
    notes: &mut Notes,
) -> Result<Naming, OpenError> {
    let cleat = whole(cleat_file::read(&files.cleat()), notes)?;
    let epochs = whole(epochs::read(&files.epochs()), notes)?;
    let are_epochs_lost = epochs.is_none();
    let headers = if cleat.is_none() || are_epochs_lost { headers(&files.log())? } else { Vec::new() };
    let from_others = || headers.first().map(|header| header.identity).or(witness.map(|witness| witness.identity));
    let (log_id, new_cleat) = match cleat {
        Some(file) if file.format == FORMAT => (file.log_id, None),
        Some(file) => (file.log_id, Some(CleatFile { format: FORMAT, ..file })),
        None => {
            let log_id = from_others().ok_or(OpenError::Nameless { file: "CLEAT" })?.log_id;
            let made_by = env!("CARGO_PKG_VERSION").to_owned();
            (log_id, Some(CleatFile { format: FORMAT, log_id, made_by }))
        }
    };
    let epochs = match epochs {
        Some(epochs) => epochs,
        None => rebuild(log_id, &headers, witness)?,
    };
    Ok(Naming { log_id, epochs, new_cleat, are_epochs_lost })
}

/// Returns the content of a file. `None` if the file is missing or damaged.
fn whole<T>(read: Result<T, FileError>, notes: &mut Notes) -> Result<Option<T>, OpenError> {
    match read {
        Ok(file) => Ok(Some(file)),
        Err(error @ (FileError::Missing { .. } | FileError::Damaged { .. })) => {
            notes.note(format!("{error}: a start makes it again from the log"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns the headers of all segments that have a whole one.
fn headers(log: &Path) -> Result<Vec<SegmentHeader>, OpenError> {
    let mut headers = Vec::new();
    for name in sealed::list(log)? {
        match SegmentHeader::read(&log.join(name.to_string()), name) {
            Ok(header) => headers.push(header),
            Err(SegmentError::Damaged { .. }) => {}
            Err(SegmentError::Newer { path, format }) => {
                return Err(OpenError::Newer { what: path.display().to_string(), format: format.into() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(headers)
}

/// Rebuilds the epochs. An epoch begins at the first segment that names it. Without any segment, the witness names the
/// only epoch.
fn rebuild(log_id: u128, headers: &[SegmentHeader], witness: Option<&Witness>) -> Result<Epochs, OpenError> {
    let mut found: Vec<Epoch> = Vec::new();
    for header in headers.iter().filter(|header| header.identity.log_id == log_id) {
        if found.last().is_none_or(|last| last.id != header.identity.epoch) {
            found.push(Epoch { id: header.identity.epoch, from: header.first, before: header.before });
        }
    }
    if let Some(witness) = witness
        && found.is_empty()
    {
        found.push(Epoch { id: witness.identity.epoch, from: 1, before: format::genesis(log_id) });
    }
    Epochs::new(found).map_err(|_| OpenError::Nameless { file: "EPOCHS" })
}
