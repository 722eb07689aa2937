//! Layout of a data directory: its names, its locks, its creation, and the state of a path where one should be. Knows
//! nothing of the content of a segment, a journal, a run or a view.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use zeroize::Zeroizing;

use super::cleat_file::{self, CleatFile, FORMAT};
use super::epochs::{self, Epoch, Epochs, EpochsError};
use super::file::{FileError, failed};
use super::secret::{self, LogSecret};
use super::witness::{self, Witness, WitnessState};
use crate::event::{Identity, Point, Position, Timestamp};
use crate::log::format;
use crate::storage::write_private;

const CLEAT: &str = "CLEAT";
const EPOCHS: &str = "EPOCHS";
const SECRET: &str = "SECRET";
const WITNESS: &str = "witness";
const LOCK: &str = "lock";
/// Longest wait for the lock. After a kill the lock of the dead process may last a little.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(20);
const LOG: &str = "log";
const DEDUP: &str = "dedup";
const VIEWS: &str = "views";
const OURS: [&str; 8] = [CLEAT, EPOCHS, SECRET, WITNESS, LOCK, LOG, DEDUP, VIEWS];

/// Position before the first one: nothing was acknowledged.
const NOTHING: Position = 0;

/// Names of everything in a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFiles {
    path: PathBuf,
}

impl DataFiles {
    /// Returns the names in the directory at `path`, whether it exists or not.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: std::path::absolute(path)? })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn cleat(&self) -> PathBuf {
        self.path.join(CLEAT)
    }

    pub fn epochs(&self) -> PathBuf {
        self.path.join(EPOCHS)
    }

    pub fn secret(&self) -> PathBuf {
        self.path.join(SECRET)
    }

    pub fn witness(&self) -> PathBuf {
        self.path.join(WITNESS)
    }

    pub fn lock(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    pub fn dedup(&self) -> PathBuf {
        self.path.join(DEDUP)
    }

    pub fn views(&self) -> PathBuf {
        self.path.join(VIEWS)
    }

    /// Syncs the directories that name the files here, and the one that names this directory: a copy that was just put
    /// here may not be durable yet.
    pub fn sync_directories(&self) -> Result<(), FileError> {
        let above = self.path.parent().filter(|above| !is_unreadable(above));
        let directories = [Some(self.dedup()), Some(self.log()), Some(self.path.clone()), above.map(Path::to_owned)];
        for directory in directories.into_iter().flatten().filter(|directory| directory.exists()) {
            sync_directory(&directory)?;
        }
        Ok(())
    }

    /// Keeps every other process out. Creates the lock file if there is none, but never the directory.
    pub fn lock_exclusively(&self) -> Result<DataLock, LockError> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(self.lock()).map_err(LockError::Io)?;
        take(file, File::try_lock)
    }

    /// Keeps writers out. Writes nothing, so that it works where nothing can be written. `None` if there is no lock
    /// file: no process has ever opened this directory for writing, or it is a copy.
    pub fn lock_for_reading(&self) -> Result<Option<DataLock>, LockError> {
        match File::open(self.lock()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LockError::Io(error)),
            Ok(file) => take(file, File::try_lock_shared).map(Some),
        }
    }
}

/// Lock on a data directory, held while this lives.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another process uses it; is `cleat serve` running?")]
    InUse,
    #[error("cannot lock it")]
    Io(#[source] io::Error),
}

fn take(file: File, lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<DataLock, LockError> {
    let mut waited = Duration::ZERO;
    loop {
        match lock(&file) {
            Ok(()) => return Ok(DataLock { _file: file }),
            Err(TryLockError::WouldBlock) if waited < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_RETRY);
                waited += LOCK_RETRY;
            }
            Err(TryLockError::WouldBlock) => return Err(LockError::InUse),
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
    }
}

/// State of a path where a data directory should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundDirectory {
    Missing,
    /// Directory without files. `lost+found` and names with a leading dot do not count: any volume has them.
    Empty,
    /// Init that was cut before anything was acknowledged.
    Unfinished,
    Initialised(CleatFile),
    /// Directory without `CLEAT` that holds a file of others. Has the first such name.
    NotOurs(String),
    /// `CLEAT` is damaged, or it is missing and something here belongs only to a log.
    CleatLost,
}

impl fmt::Display for FoundDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the directory does not exist"),
            Self::Empty => f.write_str("the directory is empty"),
            Self::Unfinished => f.write_str("the directory holds no log, or an init that was cut before its end"),
            Self::Initialised(_) => f.write_str("the directory has a log"),
            Self::NotOurs(name) => {
                write!(f, "the directory holds {name:?}, which is no file of cleat's, and no file CLEAT")
            }
            Self::CleatLost => f.write_str("the directory has a log whose file CLEAT is missing or damaged"),
        }
    }
}

/// Finds out the state of a path, and changes nothing. A directory of a newer format is an error.
pub fn look(path: &Path) -> Result<FoundDirectory, FileError> {
    let files = DataFiles::at(path).map_err(failed("find", path))?;
    let names = match names(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FoundDirectory::Missing),
        names => names.map_err(failed("list", path))?,
    };
    let is_damaged = match cleat_file::read(&files.cleat()) {
        Ok(file) => return Ok(FoundDirectory::Initialised(file)),
        Err(FileError::Missing { .. }) => false,
        Err(FileError::Damaged { .. }) => true,
        Err(error) => return Err(error),
    };
    let in_log = names_if_any(&files.log())?;
    let is_of_log = |name: &String| name.starts_with("journal-") || name.contains(".seg");
    if is_damaged || in_log.iter().any(is_of_log) || has_acknowledged(&files)? {
        return Ok(FoundDirectory::CleatLost);
    }
    let foreign = names.iter().find(|name| !is_ours(name)).cloned();
    let foreign = foreign.or_else(|| in_log.first().map(|name| format!("{LOG}/{name}")));
    Ok(match foreign {
        Some(name) => FoundDirectory::NotOurs(name),
        None if names.is_empty() => FoundDirectory::Empty,
        None => FoundDirectory::Unfinished,
    })
}

/// Returns whether a file next to the log has seen more of the log than its beginning, or is in a state that init never
/// leaves.
fn has_acknowledged(files: &DataFiles) -> Result<bool, FileError> {
    let witness = witness::read(&files.witness())?;
    let is_of_init = match witness.state {
        WitnessState::Missing | WitnessState::Unwritten => true,
        WitnessState::Whole => witness.newest.is_some_and(|witness| witness.head.position == NOTHING),
        WitnessState::OneSlotDamaged | WitnessState::Lost | WitnessState::Newer { .. } => false,
    };
    Ok(!is_of_init || !names_if_any(&files.dedup())?.is_empty() || !names_if_any(&files.views())?.is_empty())
}

/// Returns whether a name is ours, also with the suffix that a file has while it is written.
fn is_ours(name: &str) -> bool {
    OURS.contains(&name.strip_suffix(".new").unwrap_or(name))
}

/// Returns the names in a directory, in order, without those that any volume has.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "lost+found" && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn names_if_any(directory: &Path) -> Result<Vec<String>, FileError> {
    match names(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(failed("list", directory)),
    }
}

/// Version of cleat that `CLEAT` names.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Random values that a new log begins with.
#[derive(Clone)]
pub struct NewLog {
    /// Two random numbers.
    pub identity: Identity,
    /// Random bytes.
    pub secret: Zeroizing<[u8; 32]>,
}

impl NewLog {
    pub fn new(identity: Identity, secret: [u8; 32]) -> Self {
        Self { identity, secret: Zeroizing::new(secret) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("{} is a data directory already", .0.display())]
    Initialised(PathBuf),
    #[error("{} holds `{name}`, which is no file of cleat's", path.display())]
    NotOurs { path: PathBuf, name: String },
    #[error("{} holds a log whose file CLEAT is missing or damaged", .0.display())]
    HoldsLog(PathBuf),
    #[error("cannot use {}", path.display())]
    Lock { path: PathBuf, source: LockError },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Epochs(#[from] EpochsError),
}

/// Creates a data directory, or finishes one whose init was cut, and keeps it locked. Each step is durable before the
/// next. `CLEAT` comes last, and says that everything is there.
pub fn init(path: &Path, fresh: &NewLog) -> Result<DataLock, InitError> {
    let files = DataFiles::at(path).map_err(failed("find", path))?;
    // Checked before anything is made, and again once no other process can make it.
    refuse(&files)?;
    make_directory(files.path())?;
    let lock = files.lock_exclusively().map_err(|source| InitError::Lock { path: path.to_owned(), source })?;
    refuse(&files)?;
    make_directory(&files.log())?;
    let NewLog { identity, secret } = fresh.clone();
    secret::write(&files.secret(), &LogSecret { generation: 1, key: secret })?;
    let chain = format::genesis(identity.log_id);
    let first = Epoch { id: identity.epoch, from: 1, before: chain };
    epochs::write(&files.epochs(), &Epochs::new(vec![first])?)?;
    let head = Point { position: NOTHING, chain, recorded_at: Timestamp::default() };
    let empty = witness::first_file(Some(Witness { identity, journal: 0, head }));
    write_private(&files.witness(), &empty).map_err(failed("write", &files.witness()))?;
    cleat_file::write(
        &files.cleat(),
        &CleatFile { format: FORMAT, log_id: identity.log_id, made_by: VERSION.to_owned() },
    )?;
    Ok(lock)
}

fn refuse(files: &DataFiles) -> Result<(), InitError> {
    let path = files.path().to_owned();
    match look(&path)? {
        FoundDirectory::Missing | FoundDirectory::Empty | FoundDirectory::Unfinished => Ok(()),
        FoundDirectory::Initialised(_) => Err(InitError::Initialised(path)),
        FoundDirectory::NotOurs(name) => Err(InitError::NotOurs { path, name }),
        FoundDirectory::CleatLost => Err(InitError::HoldsLog(path)),
    }
}

/// Creates a directory and its missing parents, from the top down, each durable before the next. The lowest parent that
/// existed is made durable as well: an init that was cut may have created it.
fn make_directory(path: &Path) -> Result<(), FileError> {
    let mut missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    if let Some(above) = path.ancestors().nth(missing.len() + 1).filter(|above| !is_unreadable(above)) {
        sync_directory(above)?;
    }
    while let Some(directory) = missing.pop() {
        match DirBuilder::new().mode(0o700).create(directory) {
            // Another process was faster; the lock decides which of the two goes on.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            made => made.map_err(failed("create", directory))?,
        }
        if let Some(above) = directory.parent() {
            sync_directory(above)?;
        }
    }
    Ok(())
}

fn sync_directory(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("sync", path))
}

/// Returns whether this process may not read a directory. It did not create such a directory.
fn is_unreadable(path: &Path) -> bool {
    File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}
