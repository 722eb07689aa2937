//! A range of positions, and the name of the run that covers it. Knows nothing of files.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::event::Position;

const EXTENSION: &str = "run";
/// Names a file that is being written. [`sweep`](crate::storage::sweep) removes it.
const NEW: &str = "new";

/// The positions `after` + 1 to `through`; as a name, twenty digits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::log) struct Span {
    pub after: Position,
    pub through: Position,
}

impl Span {
    /// The span that the file at `path` covers by its name. `None` if that is no name of a run.
    pub fn of(path: &Path) -> Option<Self> {
        let (after, through) = path.file_stem()?.to_str()?.split_once('-')?;
        let span = Self { after: after.parse().ok()?, through: through.parse().ok()? };
        let directory = path.parent()?;
        (span.path(directory) == path && span.after < span.through).then_some(span)
    }

    /// Whether a file may be a run, of whatever format.
    pub fn is_run(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == EXTENSION)
    }

    pub fn path(self, directory: &Path) -> PathBuf {
        directory.join(format!("{self}.{EXTENSION}"))
    }

    /// The place of the file until it is whole.
    pub fn temporary_path(self, directory: &Path) -> PathBuf {
        directory.join(format!("{self}.{NEW}"))
    }

    pub fn positions(self) -> u64 {
        self.through - self.after
    }

    /// Whether all of another span lies within this one.
    pub fn covers(self, other: Self) -> bool {
        self.after <= other.after && other.through <= self.through
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.after < other.through && other.after < self.through
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { after, through } = self;
        write!(f, "{after:020}-{through:020}")
    }
}
