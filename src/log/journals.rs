//! The journals that the writer commits to: the active one, and the next one, which the sealer opens beforehand. Knows
//! nothing of what a frame holds, nor of how a closed journal is sealed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use super::frame_store::FrameStore;
use super::journal::{JournalFrame, JournalWriter};
use crate::event::Position;
use crate::storage::{StoreError, free_space};

/// Bounds of one journal, beside its bytes.
const EVENTS_MAX: u64 = 256 * 1024;
const VALUES_MAX: usize = 32 * 1024;
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Closed journals that may wait to be sealed.
pub(super) const CLOSED_MAX: usize = 2;
/// The wait for a journal to be sealed or opened.
const PATIENCE: Duration = Duration::from_secs(1);

/// Creates an empty journal of a sequence in a directory.
pub(super) type CreateJournal = fn(&Path, u64) -> Result<Box<dyn JournalWriter>, StoreError>;

/// Why nothing is taken now. It passes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error("the disk has less free space than log.disk_reserve")]
    DiskFull,
    #[error("closed journals wait to be sealed")]
    SealingBehind,
    #[error("no journal can be opened")]
    NoJournal,
    /// Whether an event came before cannot be told.
    #[error("lost dedup runs are being made again from the log")]
    KeysUnknown,
    /// Their keys would fill memory.
    #[error("the dedup runs of too many events could not be saved yet")]
    KeysUnsaved,
}

/// Bounds from the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of values in one journal.
    pub journal_bytes: u64,
    /// Bytes of the disk that are left free.
    pub disk_reserve: u64,
}

/// What the writer says to the sealer.
pub(super) enum Message {
    /// The next journal is needed soon.
    Open,
    /// The journal that was opened is active now.
    Switched {
        /// The one that was active before. `None` if this is the first of this life.
        closed: Option<Box<dyn JournalWriter>>,
    },
}

/// The writer's end.
pub(super) struct Journals {
    store: Arc<FrameStore>,
    directory: PathBuf,
    limits: Limits,
    active: Option<Active>,
    /// The next journal was asked for. The sealer opens the first unasked.
    has_asked: bool,
    /// The last wait was in vain.
    has_waited: bool,
    spares: Receiver<Box<dyn JournalWriter>>,
    sealer: SyncSender<Message>,
}

struct Active {
    journal: Box<dyn JournalWriter>,
    events: u64,
    /// The machine's uptime at its beginning.
    since: Duration,
}

impl Active {
    fn is_full(&self, limits: Limits, uptime: Duration) -> bool {
        self.journal.bytes() >= limits.journal_bytes
            || self.journal.values() >= VALUES_MAX
            || self.events >= EVENTS_MAX
            || (self.events > 0 && uptime.saturating_sub(self.since) >= AGE_MAX)
    }

    /// Whether the next journal is due to be opened. That takes several syncs, so it is kept apart from a switch.
    fn is_half_full(&self, limits: Limits, uptime: Duration) -> bool {
        self.journal.bytes() >= limits.journal_bytes / 2
            || self.journal.values() >= VALUES_MAX / 2
            || self.events >= EVENTS_MAX / 2
            || uptime.saturating_sub(self.since) >= AGE_MAX / 2
    }
}

/// One frame of a commit.
pub(super) struct NewFrame {
    pub first: Position,
    pub events: u64,
    pub journal_frame: JournalFrame,
}

impl Journals {
    pub fn new(
        store: Arc<FrameStore>,
        directory: PathBuf,
        limits: Limits,
        spares: Receiver<Box<dyn JournalWriter>>,
        sealer: SyncSender<Message>,
    ) -> Self {
        Self { store, directory, limits, active: None, has_asked: true, has_waited: false, spares, sealer }
    }

    /// Returns once the active journal takes another commit.
    pub fn make_room(&mut self, uptime: Duration) -> Result<(), NoRoom> {
        // A disk that cannot be asked is found out by the commit.
        if free_space(&self.directory).is_ok_and(|free| free < self.limits.disk_reserve) {
            return Err(NoRoom::DiskFull);
        }
        match &self.active {
            Some(active) if !active.is_full(self.limits, uptime) => {
                if active.is_half_full(self.limits, uptime) {
                    self.ask();
                }
                return Ok(());
            }
            Some(_) => {
                self.wait(|it, patience| it.store.wait_for_sealing(CLOSED_MAX, patience), NoRoom::SealingBehind)?;
            }
            // What earlier lives left is bounded, too.
            None => {
                self.wait(|it, patience| it.store.wait_for_sealing(2 * CLOSED_MAX, patience), NoRoom::SealingBehind)?;
            }
        }
        self.ask();
        let mut spare = None;
        self.wait(
            |it, patience| {
                spare = it.spares.recv_timeout(patience).ok();
                spare.is_some()
            },
            NoRoom::NoJournal,
        )?;
        let journal = spare.ok_or(NoRoom::NoJournal)?;
        (self.has_asked, self.has_waited) = (false, false);
        self.store.begin_journal(journal.sequence());
        let before = self.active.replace(Active { journal, events: 0, since: uptime });
        self.send(Message::Switched { closed: before.map(|active| active.journal) });
        Ok(())
    }

    /// Asks for the next journal, once.
    fn ask(&mut self) {
        if !std::mem::replace(&mut self.has_asked, true) {
            self.send(Message::Open);
        }
    }

    fn send(&self, message: Message) {
        // The sealer takes messages until this end is dropped. If it has panicked, no spare comes any more.
        if self.sealer.send(message).is_err() {
            tracing::error!("the sealer has ended");
        }
    }

    /// Waits for what usually takes milliseconds; once it took too long, no more until it is there.
    fn wait(&mut self, is_there: impl FnOnce(&Self, Duration) -> bool, reason: NoRoom) -> Result<(), NoRoom> {
        let patience = if self.has_waited { Duration::ZERO } else { PATIENCE };
        let is_there = is_there(self, patience);
        self.has_waited |= !is_there;
        if is_there { Ok(()) } else { Err(reason) }
    }

    /// The sequence of the active journal, and whether nothing was committed to it yet.
    pub fn active(&self) -> Option<(u64, bool)> {
        self.active.as_ref().map(|active| (active.journal.sequence(), active.events == 0))
    }

    /// Returns once the frames are on stable storage.
    pub fn commit(&mut self, frames: &[NewFrame]) -> Result<(), StoreError> {
        let closed = || StoreError::new("write the journal", "none is open");
        let active = self.active.as_mut().ok_or_else(closed)?;
        for frame in frames {
            active.journal.put(&frame.journal_frame)?;
        }
        active.journal.sync()?;
        active.events += frames.iter().map(|frame| frame.events).sum::<u64>();
        Ok(())
    }

    /// Lets readers see frames that were committed.
    pub fn publish(&self, frames: Vec<NewFrame>) {
        self.store.append(frames.into_iter().map(|frame| (frame.first, frame.journal_frame.frame)));
    }
}
