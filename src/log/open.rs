//! Opens the log: examines the data directory, repairs what may be repaired, and starts the threads of the writer, the
//! witness, the sealer and the keeper of dedup runs. Must not know the layout of any file.

mod error;
mod examine;
mod identity;
pub(super) mod keys;
mod mend;
mod notes;
mod sealed;
mod unsealed;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub use self::error::OpenError;
pub(super) use self::examine::{Examined, gather};
use self::keys::LoadedKeys;
pub(super) use self::notes::Notes;
pub use self::notes::SeenPoint;
use super::dedup::{KeeperOptions, RunKeeper};
use super::files::anchor::{AnchorFile, AnchorRead};
use super::files::layout::{self, DataFiles, DataLock, FoundDirectory, NewLog};
use super::files::secret::LogSecret;
use super::files::witness::{Witness, WitnessFile};
use super::files::witness_keeper::WitnessKeeper;
use super::hand_over::HandOver;
use super::journal::Journal;
use super::journal_rotation::{CreateJournal, JournalLimits};
use super::reader::Reader;
use super::sealer::{self, SealerOptions};
use super::write::{Appender, ClockGuard, Committer, Poison, Sequencer, TimeSource, Watchman};
use super::writer_state::{Commit, Health};
use crate::storage::StoreError;

/// Period of the witness's syncs. It bounds how much of the witness a power cut may take.
const WITNESS_SYNC_EVERY: Duration = Duration::from_secs(1);

pub struct LogOptions {
    pub time: TimeSource,
    /// Identity and secret of a log that does not exist yet. The secret also replaces a lost one.
    pub fresh: NewLog,
    /// Whether to create a log where there is none.
    pub create: bool,
    /// Path of a witness on another volume.
    pub anchor: Option<PathBuf>,
    /// Points of the log that other files have seen.
    pub seen: Vec<SeenPoint>,
    /// Maximum number of deliveries that one commit takes.
    pub batch_events: usize,
    /// Maximum number of committed events that wait for the fold.
    pub hand_over_events: usize,
    /// Bytes of values after which a journal is full.
    pub journal_bytes: u64,
    /// Bytes of the disk that are left free.
    pub disk_reserve: u64,
    /// Number of positions that one dedup run covers before it is merged. Somewhat more under load.
    pub dedup_run_events: u64,
    /// Callback after each commit, on the writer's thread. Must be quick.
    pub on_commit: Box<dyn Fn(Commit) + Send>,
}

impl LogOptions {
    /// Returns the usual bounds. The log is created where there is none, and may fill its disk.
    pub fn new(time: TimeSource, fresh: NewLog) -> Self {
        Self {
            time,
            fresh,
            create: true,
            anchor: None,
            seen: Vec::new(),
            batch_events: 2048,
            hand_over_events: 8192,
            journal_bytes: 64 * 1024 * 1024,
            disk_reserve: 0,
            dedup_run_events: 128 * 1024,
            on_commit: Box::new(|_| {}),
        }
    }
}

/// An open log.
pub struct Log {
    pub appender: Appender,
    pub reader: Reader,
    /// Parsed events, for the one fold that follows the log.
    pub hand_over: HandOver,
    pub health: watch::Receiver<Health>,
    /// Thread of the writer. Ends when the last appender is dropped, every delivery is answered and the witness is
    /// synced. Ends earlier only through a bug.
    pub writer: JoinHandle<()>,
}

/// Opens the log in `directory`, or creates it. Blocks: it reads the unsealed part, and the end of the log that no
/// dedup run covers.
pub fn open(directory: &Path, options: LogOptions) -> Result<Log, OpenError> {
    open_with(directory, options, |directory, sequence| Ok(Box::new(Journal::create(directory, sequence)?)))
}

/// Like [`open`], but with the given constructor of journals.
pub(super) fn open_with(
    directory: &Path,
    options: LogOptions,
    create_journal: CreateJournal,
) -> Result<Log, OpenError> {
    let files = DataFiles::at(directory).map_err(|error| StoreError::new("find the data directory", error))?;
    let lock = match layout::look(directory)? {
        FoundDirectory::Initialised(_) | FoundDirectory::CleatLost => files.lock_exclusively()?,
        FoundDirectory::Missing | FoundDirectory::Empty | FoundDirectory::Unfinished if options.create => {
            refuse_if_anchored(options.anchor.as_deref())?;
            tracing::warn!(directory = %directory.display(), "creating a new log");
            layout::init(directory, &options.fresh)?
        }
        found => return Err(missing(&found)),
    };
    let mut examined = gather(&files)?;
    examined.check(options.anchor.as_deref(), &options.seen)?;
    examined.notes.mended.iter().for_each(|note| tracing::warn!("{note}"));
    examined.notes.losses.iter().for_each(|loss| tracing::error!("{loss}. Restore them from a backup"));
    let loaded = keys::load(&examined, &files.dedup())?;
    let secret = keys::settle_secret(&mut examined, &loaded.set, &options.fresh);
    let keys = keys::collect(&examined, &secret, loaded, &files.dedup(), options.dedup_run_events)?;
    // Everything found is durable before anything that depends on it is removed.
    files.sync_directories()?;
    examined.mend(&files, &secret)?;
    start(&files, lock, examined, Arc::new(secret), keys, options, create_journal)
}

/// Creates an empty log, or finishes one whose creation was cut short. Refuses if the anchor has seen a log.
pub fn init(directory: &Path, fresh: &NewLog, anchor: Option<&Path>) -> Result<(), OpenError> {
    // A directory that holds something is refused by `layout::init`, whatever the anchor says.
    if matches!(layout::look(directory)?, FoundDirectory::Missing | FoundDirectory::Empty | FoundDirectory::Unfinished)
    {
        refuse_if_anchored(anchor)?;
    }
    layout::init(directory, fresh)?;
    Ok(())
}

/// Checks that `directory` has a log. The error describes the actual content. Changes nothing.
pub fn find(directory: &Path) -> Result<(), OpenError> {
    match layout::look(directory)? {
        FoundDirectory::Initialised(_) | FoundDirectory::CleatLost => Ok(()),
        found => Err(missing(&found)),
    }
}

fn missing(found: &FoundDirectory) -> OpenError {
    match found {
        // Neither `cleat init` nor data.create would create a log there.
        FoundDirectory::NotOurs(_) => OpenError::NoLog { found: found.to_string() },
        _ => OpenError::NotCreated { found: found.to_string() },
    }
}

/// Refuses if the anchor has seen a log. That log is somewhere else, and no other may be started in its place.
fn refuse_if_anchored(anchor: Option<&Path>) -> Result<(), OpenError> {
    let Some(path) = anchor else { return Ok(()) };
    let says = match examine::read_in_time(path) {
        Some(Ok(AnchorRead::Missing)) => return Ok(()),
        Some(Ok(AnchorRead::Newer { format })) => return Err(examine::newer(path, format)),
        Some(Ok(AnchorRead::Whole(Witness { head, .. }))) => format!("has seen one up to position {}", head.position),
        Some(Ok(AnchorRead::Damaged(reason))) => format!("may have seen one, and is damaged: {reason}"),
        Some(Err(error)) => return Err(error.into()),
        None => "may have seen one, and its volume does not answer".to_owned(),
    };
    Err(OpenError::Anchored { anchor: path.display().to_string(), says })
}

fn start(
    files: &DataFiles,
    lock: DataLock,
    examined: Examined,
    secret: Arc<LogSecret>,
    keys: LoadedKeys,
    options: LogOptions,
    create_journal: CreateJournal,
) -> Result<Log, OpenError> {
    let identity = examined.identity();
    let head = examined.head();
    let Examined { next_sequence, is_witness_damaged, .. } = examined;
    let damaged = examined.unsealed.damaged.clone();
    let last_journal = last_journal(&examined);
    let store = examined.store.clone();
    drop(examined);
    let (queue, waiting) = mpsc::channel(2 * options.batch_events);
    let heads = watch::Sender::new(head);
    let healths = watch::Sender::new(Health::Writable);
    let health = healths.subscribe();
    let poison = Poison::new(healths);
    let index = Arc::new(keys.index);
    let reader = Reader::new(store.clone(), index.clone(), secret.clone(), heads.subscribe(), identity);
    let keeper = RunKeeper::spawn(KeeperOptions {
        index: index.clone(),
        directory: files.dedup(),
        origin: keys.origin,
        secret: secret.clone(),
        store: store.clone(),
        lost: keys.lost,
        run_events: options.dedup_run_events,
        disk_reserve: options.disk_reserve,
        head: heads.subscribe(),
        now: options.time.now.clone(),
    })?;
    let whole = Witness { identity, journal: last_journal, head };
    let witness = start_witness(files, options.anchor, &poison, &whole, is_witness_damaged)?;
    let (journals, sealer) = sealer::spawn(SealerOptions {
        store,
        directory: files.log(),
        identity,
        limits: JournalLimits { journal_bytes: options.journal_bytes, disk_reserve: options.disk_reserve },
        poison: poison.clone(),
        create_journal,
        next_sequence,
        damaged,
    })?;
    let watchman = Watchman(poison.clone());
    let hand_over = HandOver::new(options.hand_over_events);
    let sequencer = Sequencer {
        index,
        keeper,
        run_events: options.dedup_run_events,
        secret: secret.clone(),
        clock: ClockGuard::new(options.time.clone()),
        batch_events: options.batch_events,
        head,
        answered: 0,
        committer: Committer {
            journals,
            identity,
            head: heads,
            hand_over: hand_over.clone(),
            poison,
            witness,
            clock: options.time.now.clone(),
            on_commit: options.on_commit,
        },
        sealer,
    };
    let writer = thread::Builder::new().name("cleat-writer".into()).spawn(move || {
        let _watchman = watchman;
        sequencer.run(waiting);
        // The directory stays locked until the last write is done.
        drop(lock);
    })?;
    Ok(Log { appender: Appender::new(queue, options.time, reader.clone(), secret), reader, hand_over, health, writer })
}

/// Returns the sequence of the newest journal that was used.
fn last_journal(examined: &Examined) -> u64 {
    let named = examined.witness.map(|witness| witness.journal);
    let unsealed = examined.unsealed.journals.iter().map(|(sequence, _)| *sequence);
    unsealed.chain(named).max().unwrap_or(0)
}

/// Starts the thread of the witness, and writes the state that was found.
fn start_witness(
    files: &DataFiles,
    anchor: Option<PathBuf>,
    poison: &Poison,
    whole: &Witness,
    is_damaged: bool,
) -> Result<WitnessKeeper, OpenError> {
    let (file, found) = WitnessFile::open(&files.witness())?;
    let failing = poison.clone();
    let anchor = anchor.map(AnchorFile::new);
    let on_failure = move |error: &StoreError| failing.fail(error);
    let witness = WitnessKeeper::spawn(Arc::new(file), found.next, anchor, on_failure, WITNESS_SYNC_EVERY)?;
    if is_damaged {
        // Writes the other slot as well.
        witness.mark_synced(whole)?;
    }
    // From now on the log includes the events of a journal that no slot has named.
    witness.mark_synced(whole)?;
    Ok(witness)
}
