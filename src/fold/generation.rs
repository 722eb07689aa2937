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

mod change_store;
mod files;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

pub(super) use self::change_store::ChangeStore;
use self::files::Files;
use super::changes::ChangeLog;
use super::checkpoint::{self, Header, Unusable};
use super::folding::Fold;
use super::intake::Intake;
use super::recorder::Recorder;
use super::views::Views;
use super::words::Words;
use crate::blocklog::{ReadError, StoreError};
use crate::event::{Hash, ParsedEvent, Position, Timestamp};
use crate::log::{HandOver, Head, Reader, Seen};

/// Why the state cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The log cannot be read there.
    #[error(transparent)]
    Log(ReadError),
    /// A checkpoint saw more of this log than there is.
    #[error("the log ends at {head}, before its checkpoint at {checkpoint} (directory `views`)")]
    LogIsShort { head: Position, checkpoint: Position },
    /// A file of the views cannot be read or written now. What was written before stays as it is.
    #[error("the views' own files: {0}")]
    Files(#[source] StoreError),
    /// The views' own files were read and found wrong. The state is made again from the log.
    #[error("the views' own files: {0}")]
    Damaged(#[source] ReadError),
    /// A bug. Where it happened is logged.
    #[error("the fold panicked")]
    Panicked,
}

impl ProjectionError {
    /// Whether it is the log that is damaged, and not what is derived from it.
    pub(super) fn is_log_damage(&self) -> bool {
        match self {
            Self::Log(ReadError::Damaged { .. }) | Self::LogIsShort { .. } => true,
            Self::Log(ReadError::Store(error)) => error.is_damage,
            Self::Files(_) | Self::Damaged(_) | Self::Panicked => false,
        }
    }

    pub(super) fn files(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Files(StoreError::new(operation, error))
    }
}

impl From<StoreError> for ProjectionError {
    fn from(error: StoreError) -> Self {
        if error.is_damage { Self::Damaged(ReadError::Store(error)) } else { Self::Files(error) }
    }
}

/// What the fold reads is its own past; the log comes to it parsed.
impl From<ReadError> for ProjectionError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error.into(),
            damaged @ ReadError::Damaged { .. } => Self::Damaged(damaged),
        }
    }
}

/// The state in the making, and where it is kept.
pub(super) struct Generation {
    files: Files,
    changes: Arc<ChangeStore>,
    fold: Fold,
    /// Of the newest checkpoint.
    pub saved: Position,
}

impl Generation {
    /// The newest that fits the log; else a new one. `held` is the change log of an earlier try, which is opened again.
    pub fn open(
        home: &Path,
        reader: &Reader,
        ring_len: usize,
        held: Option<&Arc<ChangeStore>>,
    ) -> Result<Self, ProjectionError> {
        let failed = ProjectionError::files;
        files::set_aside_what_never_opened(home).map_err(failed("set the change log aside"))?;
        files::sweep_all(home).map_err(failed("remove half-written checkpoints"))?;
        let found = files::generations(home).map_err(failed("list the generations"))?;
        for files in found.iter().rev() {
            if let Some(generation) = Self::resume(files, reader, ring_len, held)? {
                files::remove_others(home, files).map_err(failed("remove an older generation"))?;
                return Ok(generation);
            }
        }
        let generation = Self::begin(home, reader, ring_len)?;
        files::remove_others(home, &generation.files).map_err(failed("remove an older generation"))?;
        Ok(generation)
    }

    /// A new one, from the log's first event on.
    pub fn begin(home: &Path, reader: &Reader, ring_len: usize) -> Result<Self, ProjectionError> {
        let files = Files::create(home).map_err(ProjectionError::files("create a generation"))?;
        let changes = Arc::new(ChangeStore::open(&files)?);
        let recorder = record(&changes, 0, reader.genesis())?;
        let start = (0, Hash::default(), Timestamp::default());
        let fold = Fold::recorded((Vec::new(), Words::default()), start, recorder, ring_len);
        Ok(Self { files, changes, fold, saved: 0 })
    }

    /// From its newest checkpoint that can be used. `None` if it is of no use: what was read of it is damaged, or of another
    /// history. A checkpoint that the system refuses to read is the error, unless an older one can be used.
    fn resume(
        files: &Files,
        reader: &Reader,
        ring_len: usize,
        held: Option<&Arc<ChangeStore>>,
    ) -> Result<Option<Self>, ProjectionError> {
        let checkpoints = files.checkpoints().map_err(ProjectionError::files("list the checkpoints"))?;
        let (mut changes, mut refused) = (None, None);
        for position in checkpoints.into_iter().rev() {
            let unusable = match Self::resume_at(files, position, &mut changes, reader, ring_len, held)? {
                Ok(generation) => return Ok(Some(generation)),
                Err(unusable) => unusable,
            };
            tracing::warn!(position, reason = %unusable, "a checkpoint of the views cannot be used");
            // All checkpoints have the same change log.
            let is_last = matches!(unusable, Unusable::Store(_));
            if !unusable.is_damage() {
                refused.get_or_insert_with(|| StoreError::new(format!("read {}", files.name(position)), unusable));
            }
            if is_last {
                break;
            }
        }
        refused.map_or(Ok(None), |error| Err(error.into()))
    }

    /// `changes`: its change log, once it has been opened.
    fn resume_at(
        files: &Files,
        position: Position,
        changes: &mut Option<Arc<ChangeStore>>,
        reader: &Reader,
        ring_len: usize,
        held: Option<&Arc<ChangeStore>>,
    ) -> Result<Result<Self, Unusable>, ProjectionError> {
        let (header, file) = match read_header(&files.checkpoint(position)) {
            Ok(read) => read,
            Err(unusable) => return Ok(Err(unusable)),
        };
        if let Err(reason) = fits(&header, reader)? {
            return Ok(Err(Unusable::History(reason)));
        }
        let store = match changes.take().map_or_else(|| open_changes(files, held), Ok) {
            Ok(store) => changes.insert(store).clone(),
            Err(error) => return Ok(Err(Unusable::Store(error))),
        };
        Self::load(files, store, &header, file, reader, ring_len)
    }

    fn load(
        files: &Files,
        changes: Arc<ChangeStore>,
        header: &Header,
        mut file: BufReader<File>,
        reader: &Reader,
        ring_len: usize,
    ) -> Result<Result<Self, Unusable>, ProjectionError> {
        let end = match ChangeLog::new(changes.clone()).end() {
            Ok(Some(end)) if end.0 >= header.position => end,
            Ok(_) => return Ok(Err(Unusable::ChangeLog("it ends before the checkpoint"))),
            Err(ReadError::Store(error)) => return Ok(Err(Unusable::Store(error))),
            Err(ReadError::Damaged { reason, .. }) => return Ok(Err(Unusable::ChangeLog(reason))),
        };
        if chain_at(reader, end.0)? != Some(end.1) {
            return Ok(Err(Unusable::ChangeLog("it is of another history")));
        }
        let mut words = Words::default();
        let states = match checkpoint::read_states(header, &mut file, &mut words) {
            Ok(states) => states,
            Err(error) => return Ok(Err(error)),
        };
        let recorder = record(&changes, end.0, end.1)?;
        let start = (header.position, header.chain, header.recorded_at);
        let fold = Fold::recorded((states, words), start, recorder, ring_len);
        tracing::info!(position = header.position, "the views go on from a checkpoint");
        Ok(Ok(Self { files: files.clone(), changes, fold, saved: header.position }))
    }

    pub fn position(&self) -> Position {
        self.fold.position()
    }

    /// What comes after it.
    pub fn intake(&self, reader: &Reader, hand_over: Option<HandOver>, runtime: &Handle) -> Intake {
        Intake::new(reader, hand_over, self.position(), runtime)
    }

    /// Goes on over the next events.
    pub fn take(&mut self, events: Vec<ParsedEvent>) -> Result<(), ProjectionError> {
        events.into_iter().try_for_each(|event| Ok(self.fold.take(event)?))
    }

    /// What a later try opens again.
    pub fn changes(&self) -> Arc<ChangeStore> {
        self.changes.clone()
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
        Ok(self.fold.sync()?)
    }

    /// Ends it: another has taken its place.
    pub fn retire(self) -> Retired {
        Retired { files: self.files, changes: Arc::downgrade(&self.changes) }
    }
}

/// Files that only those still need who look at older views.
pub(super) struct Retired {
    files: Files,
    changes: Weak<ChangeStore>,
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

/// What the checkpoints under `home` have seen of the log: a log that ends before is not whole. Those that cannot be read say
/// nothing.
pub fn seen(home: &Path) -> Vec<Seen> {
    let generations = files::generations(home).unwrap_or_default();
    let mut seen = Vec::new();
    for files in &generations {
        for position in files.checkpoints().unwrap_or_default() {
            let header = File::open(files.checkpoint(position))
                .ok()
                .and_then(|mut file| checkpoint::read_any_header(&mut file).ok());
            seen.extend(header.map(|Header { identity, position, chain, recorded_at }| Seen {
                by: format!("a checkpoint of the views ({})", files.name(position)),
                identity,
                head: Head { position, chain, recorded_at },
            }));
        }
    }
    seen
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

fn open_changes(files: &Files, held: Option<&Arc<ChangeStore>>) -> Result<Arc<ChangeStore>, StoreError> {
    match held.filter(|held| held.files() == files) {
        Some(held) => {
            held.reopen()?;
            Ok(held.clone())
        }
        None => Ok(Arc::new(ChangeStore::open(files)?)),
    }
}

fn record(changes: &Arc<ChangeStore>, last: Position, chain: Hash) -> Result<(Recorder, ChangeLog), ProjectionError> {
    Recorder::new(changes.clone(), last, chain).map_err(ProjectionError::files("start a thread"))
}
