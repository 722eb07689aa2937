//! Finds the runs in their directory, and selects those that can be used. Removes nothing unless it is asked to. Knows
//! nothing of blocks and filters.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::header::{self, RunHeader};
use super::run::{DedupRun, UnusableRun};
use super::set::RunSet;
use super::span::Span;
use crate::storage::sweep;

/// Runs in a directory.
#[derive(Debug)]
pub(in crate::log) struct Loaded {
    pub set: RunSet,
    /// Runs that another run covers: a crash came between a merge and the removal of its inputs.
    pub covered: Vec<PathBuf>,
    pub unusable: Vec<UnusableFile>,
}

/// Run that cannot be used, and the reason.
#[derive(Debug, thiserror::Error)]
#[error("the dedup run {} cannot be used", path.display())]
pub(in crate::log) struct UnusableFile {
    pub path: PathBuf,
    pub source: UnusableRun,
}

/// Reason why no runs are loaded at all.
#[derive(Debug, thiserror::Error)]
pub(in crate::log) enum LoadError {
    #[error("cannot list the dedup runs in {}", path.display())]
    List { path: PathBuf, source: io::Error },
    /// A newer version of cleat wrote a run.
    #[error("the dedup run {} has format {format}; this version of cleat knows {}", path.display(), header::FORMAT)]
    Newer { path: PathBuf, format: u8 },
}

/// Creates the directory, and removes files that a crash left half-written. Runs before anything is written.
pub(in crate::log) fn prepare(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    sweep(directory)
}

/// Opens the runs of a directory, which may be missing. `is_ours` decides by the header whether a run can be used.
pub(in crate::log) fn load(directory: &Path, is_ours: impl Fn(&RunHeader) -> bool) -> Result<Loaded, LoadError> {
    let paths = list(directory).map_err(|source| LoadError::List { path: directory.to_owned(), source })?;
    let mut found = Vec::new();
    let mut unusable = Vec::new();
    for path in paths {
        match DedupRun::open(&path) {
            Ok(run) if is_ours(run.header()) => found.push(Arc::new(run)),
            Ok(_) => unusable.push(UnusableFile { path, source: UnusableRun::Foreign }),
            Err(UnusableRun::Newer(format)) => return Err(LoadError::Newer { path, format }),
            Err(source) => unusable.push(UnusableFile { path, source }),
        }
    }
    Ok(choose(found, unusable))
}

/// Removes runs durably. A run that no longer exists is no error.
pub(in crate::log) fn remove(directory: &Path, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> io::Result<()> {
    for path in paths {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    File::open(directory)?.sync_all()
}

/// Returns the paths of all runs in any format, in order.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| Span::is_run(path));
    paths.sort_unstable();
    Ok(paths)
}

/// Selects runs from the longest on. Skips a run that overlaps with one selected before.
fn choose(mut found: Vec<Arc<DedupRun>>, unusable: Vec<UnusableFile>) -> Loaded {
    found.sort_by_key(|run| (u64::MAX - run.span().positions(), run.span().after));
    let mut loaded = Loaded { set: RunSet::default(), covered: Vec::new(), unusable };
    for run in found {
        match loaded.set.with(run.clone()) {
            Ok(set) => loaded.set = set,
            Err(overlap) if overlap.existing.covers(overlap.new) => loaded.covered.push(run.path().to_owned()),
            Err(_) => {
                let path = run.path().to_owned();
                loaded.unusable.push(UnusableFile { path, source: UnusableRun::Overlapping });
            }
        }
    }
    loaded.covered.sort_unstable();
    loaded
}
