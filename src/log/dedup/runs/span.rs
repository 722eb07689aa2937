//! Range of positions, and the name of the run that covers it. Knows nothing of files.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::event::Position;

const EXTENSION: &str = "run";
/// Extension of a file that is being written. [`sweep`](crate::storage::sweep) removes it.
const NEW: &str = "new";

/// Positions `after` + 1 to `through`. A name has twenty digits for each number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::log) struct Span {
    pub after: Position,
    pub through: Position,
}

impl Span {
    /// Returns the span that the file at `path` covers by its name. `None` if it is not the name of a run.
    pub fn of(path: &Path) -> Option<Self> {
        let (after, through) = path.file_stem()?.to_str()?.split_once('-')?;
        let span = Self { after: after.parse().ok()?, through: through.parse().ok()? };
        let directory = path.parent()?;
        (span.path(directory) == path && span.after < span.through).then_some(span)
    }

    /// Returns whether a file may be a run, in any format.
    pub fn is_run(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == EXTENSION)
    }

    pub fn path(self, directory: &Path) -> PathBuf {
        directory.join(format!("{self}.{EXTENSION}"))
    }

    /// Returns the path of the file until it is complete.
    pub fn temporary_path(self, directory: &Path) -> PathBuf {
        directory.join(format!("{self}.{NEW}"))
    }

    pub fn positions(self) -> u64 {
        self.through - self.after
    }

    /// Returns whether all of another span is within this one.
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
