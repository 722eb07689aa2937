//! Owns one derivation of the state on disk: its change log and its checkpoints. It is derived from the log, so any of
//! its files may be missing. Must not know the projector, or how entities are encoded.
//!
//! ```text
//! <data>/views/<n>/changes/                  the change log
//!                 /<position>.checkpoint     two are kept
//! ```
//!
//! A start resumes from the newest checkpoint that fits the log, and folds the events after it. Without such a
//! checkpoint it begins a new generation. It never repairs an older one, and keeps it until the new one has a
//! checkpoint at the log's head.

pub mod checkpoint;
mod files;
mod unusable;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use self::checkpoint::CheckpointHeader;
pub(super) use self::files::Files;
use self::unusable::Unusable;
use super::changes::{ChangeLog, Recorder};
use super::engine::Fold;
use super::intake::Intake;
use super::state::RestoredState;
use super::views::Views;
use crate::event::{Hash, ParsedEvent, Point, Position};
use crate::log::{HandOver, Reader, SeenPoint};
use crate::segment::ReadError;
use crate::storage::StoreError;

/// Divisor of the last checkpoint's bytes: a checkpoint is due once the change log has grown by that share of them. So
/// the bytes that checkpoints write stay in proportion to the changes, however large the state is, and so does the work
/// of a start.
const CHECKPOINT_SHARE: u64 = 4;

/// Reason why the state cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The log cannot be read at the next position.
    #[error(transparent)]
    Log(ReadError),
    /// The views have seen more of this log than it has.
    #[error("the log ends at {head}, before position {seen}, which its views have seen (directory `views`)")]
    LogIsShort { head: Position, seen: Position },
    /// A file of the views cannot be read or written now. Data that was written before stays as it is.
    #[error("files of the views: {0}")]
    Files(#[source] StoreError),
    /// The views' own files were read and found damaged. The state is derived again from the log.
    #[error("files of the views: {0}")]
    Damaged(#[source] ReadError),
    /// A bug. Its place is logged.
    #[error("the fold panicked")]
    Panicked,
}

impl ProjectionError {
    /// Returns whether the log itself is damaged, and not a file derived from it.
    pub(super) fn is_log_damage(&self) -> bool {
        match self {
            Self::Log(ReadError::Damaged { .. }) | Self::LogIsShort { .. } => true,
            Self::Log(ReadError::Store(error)) => error.is_damage(),
            Self::Files(_) | Self::Damaged(_) | Self::Panicked => false,
        }
    }

    pub(super) fn files(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Files(StoreError::new(operation, error))
    }
}

impl From<io::Error> for ProjectionError {
    /// Converts the error of a failed checkpoint: the disk failed, or data that had to be read for it is damaged.
    fn from(error: io::Error) -> Self {
        match error.downcast::<ReadError>() {
            Ok(error) => error.into(),
            Err(error) => Self::files("write a checkpoint")(error),
        }
    }
}

impl From<StoreError> for ProjectionError {
    fn from(error: StoreError) -> Self {
        if error.is_damage() { Self::Damaged(ReadError::Store(error)) } else { Self::Files(error) }
    }
}

/// Converts an error of the fold, which reads only its own past: events of the log come to it parsed.
impl From<ReadError> for ProjectionError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error.into(),
            damaged @ ReadError::Damaged { .. } => Self::Damaged(damaged),
        }
    }
}

/// Reason why a generation does not resume from a checkpoint.
#[derive(Debug, thiserror::Error)]
enum ResumeError {
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    Failed(#[from] ProjectionError),
}

/// Settings of a generation.
#[derive(Clone, Copy)]
pub(super) struct Keeping {
    /// See [`Fold::new`].
    pub ring_len: usize,
    /// Length of a full segment of the change log.
    pub segment_bytes: u64,
}

/// State that advances, and the files that keep it.
pub(super) struct Generation {
    files: Files,
    changes: Arc<ChangeLog>,
    fold: Fold,
    /// Position of the newest checkpoint, which may still be being written.
    pub saved: Position,
}

impl Generation {
    /// Opens the newest generation that fits the log, or begins a new one.
    pub fn open(home: &Path, reader: &Reader, keeping: Keeping) -> Result<Self, ProjectionError> {
        let failed = ProjectionError::files;
        files::sweep_all(home).map_err(failed("remove half-written checkpoints"))?;
        for files in files::generations(home).map_err(failed("list the generations"))?.iter().rev() {
            if let Some(generation) = Self::resume(files, reader, keeping)? {
                files::remove_useless(home, Some(files)).map_err(failed("remove a generation"))?;
                return Ok(generation);
            }
        }
        files::remove_useless(home, None).map_err(failed("remove a generation"))?;
        tracing::info!(through = reader.head().position, "building the views from the first event of the log");
        Self::begin(home, reader, keeping)
    }

    /// Begins a new generation, from the log's first event on.
    pub fn begin(home: &Path, reader: &Reader, keeping: Keeping) -> Result<Self, ProjectionError> {
        let files = Files::create(home).map_err(ProjectionError::files("create a generation"))?;
        let changes = ChangeLog::open(&files.changes(), reader.identity(), reader.genesis(), 0);
        let begun = changes
            .map_err(|error| ProjectionError::from(error.at(1)))
            .and_then(|changes| Self::over(&files, changes, RestoredState::default(), Point::default(), keeping));
        begun.inspect_err(|_| files.remove())
    }

    fn over(
        files: &Files,
        changes: ChangeLog,
        state: RestoredState,
        at: Point,
        keeping: Keeping,
    ) -> Result<Self, ProjectionError> {
        let changes = Arc::new(changes);
        let recorder = Recorder::new(changes.clone(), keeping.segment_bytes);
        let recorder = recorder.map_err(ProjectionError::files("start a thread"))?;
        let fold = Fold::recorded(state, at, changes.clone(), recorder, keeping.ring_len);
        Ok(Self { files: files.clone(), changes, fold, saved: at.position })
    }

    /// Resumes from the newest usable checkpoint of a generation. `None` if it has none: all checkpoints are damaged or
    /// belong to another history. A checkpoint that the system refuses to read is an error, unless an older one can be
    /// used.
    fn resume(files: &Files, reader: &Reader, keeping: Keeping) -> Result<Option<Self>, ProjectionError> {
        let checkpoints = files.checkpoints().map_err(ProjectionError::files("list the checkpoints"))?;
        let mut refused = None;
        for position in checkpoints.into_iter().rev() {
            let unusable = match Self::resume_at(files, position, reader, keeping) {
                Ok(generation) => return Ok(Some(generation)),
                Err(ResumeError::Unusable(unusable)) => unusable,
                Err(ResumeError::Failed(error)) => return Err(error),
            };
            tracing::warn!(position, reason = %unusable, "a checkpoint cannot be used");
            if !unusable.is_damage() {
                refused = refused.or(Some(unusable.into_store_error(&files.name(position))));
            }
        }
        refused.map_or(Ok(None), |error| Err(error.into()))
    }

    fn resume_at(files: &Files, position: Position, reader: &Reader, keeping: Keeping) -> Result<Self, ResumeError> {
        let (header, mut file) = read_header(&files.checkpoint(position))?;
        check_history(&header, reader)?;
        let changes = ChangeLog::open(&files.changes(), reader.identity(), reader.genesis(), position);
        let changes = changes.map_err(Unusable::ChangeLog)?;
        let (end, chain) = changes.end();
        if end < header.at.position {
            return Err(Unusable::History("its change log ends before the checkpoint").into());
        }
        if chain_at(reader, end)? != Some(chain) {
            return Err(Unusable::History("its change log belongs to another history").into());
        }
        let state = checkpoint::read_state(&header, &mut file)?;
        let generation = Self::over(files, changes, state, header.at, keeping)?;
        tracing::info!(position = header.at.position, "resuming the views from a checkpoint");
        Ok(generation)
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Removes its files, once nothing writes to them any more. Views of it stay readable.
    pub fn remove(self) {
        let files = self.files.clone();
        drop(self);
        files.remove();
    }

    pub fn position(&self) -> Position {
        self.fold.position()
    }

    /// Returns the intake of the events after the current position.
    pub fn intake(&self, reader: &Reader, hand_over: Option<HandOver>, runtime: &Handle) -> Intake {
        Intake::new(reader, hand_over, self.position(), runtime)
    }

    /// Applies the next events.
    pub fn take(&mut self, events: Vec<ParsedEvent>) -> Result<(), ProjectionError> {
        for event in events {
            self.fold.take(event)?;
        }
        Ok(())
    }

    /// See [`ChangeLog::failed`].
    pub fn failed(&self) -> impl Future<Output = ()> + '_ {
        self.changes.failed()
    }

    /// Returns whether the disk has room for another generation of this size, and `reserve` beyond that.
    pub fn fits_twice(&self, reserve: u64) -> bool {
        let checkpoint = self.files.checkpoint_bytes(self.saved).unwrap_or_default();
        let needed = self.changes.bytes().saturating_add(2 * checkpoint).saturating_add(reserve);
        // If the free space is unknown, the rebuild shows whether it is enough.
        !self.files.free_space().is_ok_and(|free| free < needed)
    }

    /// See [`Fold::set_followed`].
    pub fn set_followed(&mut self, is_followed: bool) {
        self.fold.set_followed(is_followed);
    }

    pub fn publish(&mut self) -> Arc<Views> {
        self.fold.publish()
    }

    /// See [`Fold::progress`].
    pub fn progress(&mut self) -> Arc<Views> {
        self.fold.progress()
    }

    /// Returns whether the changes since the newest checkpoint take about a [`CHECKPOINT_SHARE`]th of its bytes or
    /// more.
    pub fn has_outgrown_checkpoint(&self) -> bool {
        let checkpoint = self.files.checkpoint_bytes(self.saved).unwrap_or_default();
        let all = u128::from(self.changes.bytes());
        let recorded = u128::from(self.changes.end().0.max(1));
        let changed = u128::from(self.position() - self.saved) * all / recorded;
        changed >= u128::from(checkpoint / CHECKPOINT_SHARE)
    }

    /// Makes the change log durable up to the current position, and returns a closure that writes the checkpoint on any
    /// thread. If this generation is serving, the closure then removes the older ones, which are no longer needed.
    pub fn prepare_checkpoint(
        &mut self,
        reader: &Reader,
        is_serving: bool,
    ) -> Result<impl FnOnce() -> io::Result<()> + Send + 'static, ProjectionError> {
        self.sync()?;
        let files = self.files.clone();
        let views = self.fold.publish();
        let header = CheckpointHeader { identity: reader.identity(), at: views.point() };
        let position = header.at.position;
        self.saved = position;
        Ok(move || {
            files.save(position, |file| {
                let mut out = BufWriter::with_capacity(1024 * 1024, file);
                checkpoint::write(&views, &header, &mut out)?;
                out.flush()
            })?;
            if is_serving { files.remove_older() } else { Ok(()) }
        })
    }

    /// Makes the change log durable up to the current position.
    pub fn sync(&mut self) -> Result<(), ProjectionError> {
        Ok(self.fold.sync()?)
    }
}

/// Returns how far each checkpoint under `home` has seen the log. A log that ends before that is not whole. Checkpoints
/// that cannot be read are left out.
pub fn seen(home: &Path) -> Vec<SeenPoint> {
    let generations = files::generations(home).unwrap_or_default();
    let mut seen = Vec::new();
    for files in &generations {
        for position in files.checkpoints().unwrap_or_default() {
            let Ok(mut file) = File::open(files.checkpoint(position)) else { continue };
            let Ok(CheckpointHeader { identity, at }) = checkpoint::read_any_header(&mut file) else { continue };
            let by = format!("a checkpoint of the views ({})", files.name(position));
            seen.push(SeenPoint { by, identity, head: at });
        }
    }
    seen
}

fn read_header(path: &Path) -> Result<(CheckpointHeader, BufReader<File>), Unusable> {
    let mut file = BufReader::with_capacity(1024 * 1024, File::open(path)?);
    Ok((checkpoint::read_header(&mut file)?, file))
}

/// Checks that a checkpoint belongs to this log's history.
fn check_history(header: &CheckpointHeader, reader: &Reader) -> Result<(), ResumeError> {
    let CheckpointHeader { identity, at } = header;
    if *identity != reader.identity() {
        return Err(Unusable::History("it belongs to another log or another epoch").into());
    }
    let head = reader.head().position;
    if at.position > head {
        return Err(ProjectionError::LogIsShort { head, seen: at.position }.into());
    }
    if chain_at(reader, at.position)? != Some(at.chain) {
        return Err(Unusable::History("it belongs to another history").into());
    }
    Ok(())
}

fn chain_at(reader: &Reader, position: Position) -> Result<Option<Hash>, ProjectionError> {
    Ok(reader.get(position).map_err(ProjectionError::Log)?.map(|event| event.chain))
}
