//! Opens the log: recovers what is there, and starts the threads of the writer and the witness.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, watch};

use super::append::Appender;
use super::assembly::Assembler;
use super::clock::{ClockGuard, TimeSource};
use super::commit::Committer;
use super::dedup::{self, Known, RunFiles};
use super::directory::DataDirectory;
use super::poison::{Poison, Watchman};
use super::preflight;
use super::reader::Reader;
use super::recovery::{Disk, Recovered, recover};
use super::witness::{Witness, WitnessKeeper};
use super::writer::Writer;
use super::{Commit, Health, OpenError};
use crate::blocklog::{SledStore, StoreError};
use crate::token::Identity;

pub struct Options {
    pub time: TimeSource,
    /// For a log that does not exist yet: two random numbers.
    pub fresh: Identity,
    /// How many events one commit takes at most.
    pub batch_events: usize,
    /// How many positions one dedup run covers, and a start reads at most; some more under load.
    pub dedup_run_events: u64,
    /// Called after each commit, on the writer's thread: must be quick.
    pub on_commit: Box<dyn Fn(Commit) + Send>,
}

/// An open log.
pub struct Log {
    pub appender: Appender,
    pub reader: Reader,
    pub health: watch::Receiver<Health>,
    /// Ends when the last appender was dropped, all was answered and the witness is synced; before that only by a bug.
    pub writer: JoinHandle<()>,
}

/// Opens the log in `directory`, or makes it. Blocks: it reads what no dedup run covers, all of it if there is none.
pub fn open(directory: &Path, options: Options) -> Result<Log, OpenError> {
    let directory = DataDirectory::open(directory)?;
    let runs = Arc::new(RunFiles::open(directory.dedup())?);
    // Beside each other: the one waits for the disk, the other for memory.
    let (store, known) = thread::scope(|scope| {
        let known = scope.spawn(|| dedup::load(&*runs));
        (open_store(&directory), known.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let known = known.map_err(|error| StoreError::new("read the dedup runs", error))?;
    let disk = Disk { store: Arc::new(store?), marks: Arc::new(directory.witness()?), runs };
    open_on(disk, known, options)
}

pub(super) fn open_store(directory: &DataDirectory) -> Result<SledStore, StoreError> {
    let files = directory.log();
    SledStore::open("log", &files, &|| preflight::check(files.path(), &directory.head()))
}

pub(super) fn open_on(disk: Disk, known: Known, options: Options) -> Result<Log, OpenError> {
    let recovered = recover(&disk, known, options.fresh, options.dedup_run_events)?;
    disk.marks.mark(&Witness::of(recovered.identity, &recovered.head).encode())?;
    disk.marks.sync_mark()?;
    start(disk, recovered, options)
}

fn start(Disk { store, marks, .. }: Disk, recovered: Recovered, options: Options) -> Result<Log, OpenError> {
    let Recovered { identity, head, index, saver } = recovered;
    let (queue, waiting) = mpsc::channel(2 * options.batch_events);
    let (heads, healths) = (watch::Sender::new(head), watch::Sender::new(Health::Writable));
    let health = healths.subscribe();
    let poison = Poison::new(healths);
    let time = options.time;
    let reader = Reader::new(store.clone(), index.clone(), heads.subscribe(), identity);
    let watchman = Watchman(poison.clone());
    let writer = Writer {
        index,
        saver,
        reader: reader.clone(),
        clock: ClockGuard::new(time.clone()),
        assembler: Assembler::new()?,
        batch_events: options.batch_events,
        head,
        answered: 0,
        committer: Committer {
            witness: WitnessKeeper::spawn(marks, poison.clone())?,
            store,
            identity,
            head: heads,
            poison,
            clock: time.now.clone(),
            on_commit: options.on_commit,
        },
    };
    let writer = thread::Builder::new().name("cleat-writer".into()).spawn(move || {
        let _watchman = watchman;
        writer.run(waiting);
    })?;
    Ok(Log { appender: Appender::new(queue, time, reader.clone()), reader, health, writer })
}
