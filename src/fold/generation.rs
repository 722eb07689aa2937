//! One derivation of the state on disk: its change log and its checkpoints. Derived from the log: any of it may be gone.
//!
//! ```text
//! <data>/views/opening            the number of the generation whose change log is being opened
//!              <n>/changes/       the change log, in sled
//!              <n>/<position>.checkpoint      two are kept
//! ```
//!
//! A start goes on from the newest checkpoint that fits the log, and folds what comes after it. Without one it begins anew, in a
//! generation of its own: nothing of an older one is ever mended.

mod files;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use self::files::Files;
use super::ahead::{Ahead, Parsed};
use super::changes::ChangeLog;
use super::checkpoint::{self, Header, Unusable};
use super::folding::Fold;
use super::recorder::Recorder;
use super::views::Views;
use super::words::Words;
use crate::blocklog::{ReadError, SledFiles, SledStore, StoreError};
use crate::event::{Hash, Position, Timestamp};
use crate::log::Reader;

/// Why there can be no state.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The log cannot be read there.
    #[error(transparent)]
    Log(ReadError),
    /// A checkpoint saw more of this log than there is.
    #[error("the log ends at {head}, before its checkpoint at {checkpoint} (directory `views`)")]
    LogIsShort { head: Position, checkpoint: Position },
    /// What is derived cannot be written, or not be read again: the next start makes it anew.
    #[error("the views' own files: {0}")]
    Views(String),
}

impl ProjectionError {
    pub(super) fn views(error: impl std::fmt::Display) -> Self {
        Self::Views(error.to_string())
    }
}

/// The state in the making, and where it is kept.
pub(super) struct Generation {
    files: Files,
    changes: Arc<SledStore>,
    fold: Fold,
    /// Of what was loaded, for what is parsed next.
    words: Words,
    /// Of the newest checkpoint.
    pub saved: Position,
}

impl Generation {
    /// The newest that fits the log; else a new one.
    pub fn open(home: &Path, reader: &Reader, ring_len: usize) -> Result<Self, ProjectionError> {
        files::set_aside_what_never_opened(home)
            .and_then(|()| files::sweep_all(home))
            .map_err(ProjectionError::views)?;
        let found = files::generations(home).map_err(ProjectionError::views)?;
        for files in found.iter().rev() {
            if let Some(generation) = Self::resume(files, reader, ring_len)? {
                files::remove_others(home, files).map_err(ProjectionError::views)?;
                return Ok(generation);
            }
        }
        let generation = Self::begin(home, reader, ring_len)?;
        files::remove_others(home, &generation.files).map_err(ProjectionError::views)?;
        Ok(generation)
    }

    /// A new one, from the log's first event on.
    pub fn begin(home: &Path, reader: &Reader, ring_len: usize) -> Result<Self, ProjectionError> {
        let files = Files::create(home).map_err(ProjectionError::views)?;
        let changes = open_changes(&files).map_err(ProjectionError::views)?;
        let kept = Recorder::new(changes.clone(), 0, reader.genesis()).map_err(ProjectionError::views)?;
        let start = (0, Hash::default(), Timestamp::default());
        let fold = Fold::recorded(Vec::new(), start, kept, ring_len);
        Ok(Self { files, changes, fold, words: Words::default(), saved: 0 })
    }

    /// None: it is of no use.
    fn resume(files: &Files, reader: &Reader, ring_len: usize) -> Result<Option<Self>, ProjectionError> {
        let checkpoints = files.checkpoints().map_err(ProjectionError::views)?;
        let mut changes = None;
        for position in checkpoints.into_iter().rev() {
            let unusable = |reason: &dyn std::fmt::Display| {
                tracing::warn!(position, %reason, "a checkpoint of the views cannot be used");
            };
            let (header, file) = match read_header(&files.checkpoint(position)) {
                Ok(read) => read,
                Err(reason) => {
                    unusable(&reason);
                    continue;
                }
            };
            if let Err(reason) = fits(&header, reader)? {
                unusable(&reason);
                continue;
            }
            let store = match changes.take().map_or_else(|| open_changes(files), Ok) {
                Ok(store) => changes.insert(store).clone(),
                Err(reason) => {
                    unusable(&reason);
                    return Ok(None);
                }
            };
            match Self::load(files, store, &header, file, reader, ring_len)? {
                Ok(generation) => return Ok(Some(generation)),
                Err(reason) => unusable(&reason),
            }
        }
        Ok(None)
    }

    fn load(
        files: &Files,
        changes: Arc<SledStore>,
        header: &Header,
        mut file: BufReader<File>,
        reader: &Reader,
        ring_len: usize,
    ) -> Result<Result<Self, Unusable>, ProjectionError> {
        let log = ChangeLog::new(changes.clone());
        let end = match log.end() {
            Ok(Some(end)) if end.0 >= header.position => end,
            Ok(_) => return Ok(Err(Unusable::ChangeLog("it ends before the checkpoint".to_owned()))),
            Err(error) => return Ok(Err(Unusable::ChangeLog(error.to_string()))),
        };
        if chain_at(reader, end.0)? != Some(end.1) {
            return Ok(Err(Unusable::ChangeLog("it is of another history".to_owned())));
        }
        let mut words = Words::default();
        let states = match checkpoint::read_states(header, &mut file, &mut words) {
            Ok(states) => states,
            Err(error) => return Ok(Err(error)),
        };
        let kept = Recorder::new(changes.clone(), end.0, end.1).map_err(ProjectionError::views)?;
        let start = (header.position, header.chain, header.recorded_at);
        let fold = Fold::recorded(states, start, kept, ring_len);
        tracing::info!(position = header.position, "the views go on from a checkpoint");
        Ok(Ok(Self { files: files.clone(), changes, fold, words, saved: header.position }))
    }

    pub fn position(&self) -> Position {
        self.fold.position()
    }

    /// What comes after it in the log.
    pub fn ahead(&mut self, reader: &Reader, runtime: &Handle) -> Result<Ahead, ProjectionError> {
        let words = std::mem::take(&mut self.words);
        Ahead::spawn(reader, self.position(), words, runtime.clone()).map_err(ProjectionError::views)
    }

    /// Goes on over the next events.
    pub fn take(&mut self, events: Vec<Parsed>) -> Result<(), ProjectionError> {
        events.into_iter().try_for_each(|event| self.fold.take(event)).map_err(ProjectionError::views)
    }

    pub fn publish(&mut self) -> Arc<Views> {
        self.fold.publish()
    }

    /// See [`Fold::progress`].
    pub fn progress(&mut self) -> Arc<Views> {
        self.fold.progress()
    }

    /// Makes the change log durable up to here; what is returned then writes the checkpoint, wherever it is called.
    pub fn prepare_checkpoint(
        &mut self,
        reader: &Reader,
    ) -> Result<impl FnOnce() -> io::Result<()> + Send + 'static, ProjectionError> {
        self.sync()?;
        let (files, views) = (self.files.clone(), self.fold.publish());
        let (position, chain, recorded_at) = (views.position(), views.chain(), views.recorded_at());
        let header = Header { identity: reader.identity(), position, chain, recorded_at };
        self.saved = position;
        Ok(move || {
            files.save(position, |file| {
                let mut out = BufWriter::with_capacity(1024 * 1024, file);
                checkpoint::write(&views, &header, &mut out)?;
                out.flush()
            })
        })
    }

    /// Makes the change log durable up to here.
    pub fn sync(&mut self) -> Result<(), ProjectionError> {
        self.fold.sync().map_err(ProjectionError::views)
    }

    /// Sees to it that the next start begins anew.
    pub fn condemn(&self) -> io::Result<()> {
        self.files.remove_checkpoints()
    }

    /// Ends it: another has taken its place.
    pub fn retire(self) -> Retired {
        Retired { files: self.files, changes: Arc::downgrade(&self.changes) }
    }
}

/// Files that only those still need who look at older views.
pub(super) struct Retired {
    files: Files,
    changes: Weak<SledStore>,
}

impl Retired {
    /// Whether they are gone, if nobody needs them any more. Else the next start removes them.
    pub fn removed(&self) -> bool {
        if self.changes.strong_count() > 0 {
            return false;
        }
        if let Err(error) = self.files.remove() {
            tracing::warn!(%error, "an older generation of the views cannot be removed");
        }
        true
    }
}

fn read_header(path: &Path) -> Result<(Header, BufReader<File>), Unusable> {
    let mut file = BufReader::with_capacity(1024 * 1024, File::open(path)?);
    Ok((checkpoint::read_header(&mut file)?, file))
}

/// Whether a checkpoint is of this log's history; else why not.
fn fits(header: &Header, reader: &Reader) -> Result<Result<(), &'static str>, ProjectionError> {
    if header.identity != reader.identity() {
        return Ok(Err("it is of another log, or of another epoch"));
    }
    let head = reader.head().position;
    if header.position > head {
        return Err(ProjectionError::LogIsShort { head, checkpoint: header.position });
    }
    let same = chain_at(reader, header.position)? == Some(header.chain);
    Ok(if same { Ok(()) } else { Err("it is of another history") })
}

fn chain_at(reader: &Reader, position: Position) -> Result<Option<Hash>, ProjectionError> {
    Ok(reader.get(position).map_err(ProjectionError::Log)?.map(|event| event.chain))
}

/// sled may panic, or worse, on what it finds: what is marked as being opened is not opened a second time.
fn open_changes(files: &Files) -> Result<Arc<SledStore>, StoreError> {
    let marked = |error: io::Error| StoreError::new("mark the change log", error);
    files.mark_opening().map_err(marked)?;
    let store = SledStore::open("change log", &SledFiles::of(files.changes()), &|| Ok(()))?;
    files.unmark().map_err(marked)?;
    Ok(Arc::new(store))
}
