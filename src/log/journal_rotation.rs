//! Rotation of the journals that the writer commits to: the active one, and the next one, which the sealer opens
//! beforehand. Refuses events when the disk is nearly full or sealing is behind. Knows nothing of the content of a
//! frame, nor of how a closed journal is sealed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use super::frame_store::FrameStore;
use super::journal::{JournalFrame, JournalWriter};
use crate::event::Position;
use crate::storage::{StoreError, free_space};

/// Limits of one journal, in addition to its bytes.
const EVENTS_MAX: u64 = 256 * 1024;
const VALUES_MAX: usize = 32 * 1024;
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Number of closed journals that may wait to be sealed.
pub(super) const CLOSED_MAX: usize = 2;
/// Longest wait for a journal to be sealed or opened.
const PATIENCE: Duration = Duration::from_secs(1);

/// Creates an empty journal with a sequence in a directory.
pub(super) type CreateJournal = fn(&Path, u64) -> Result<Box<dyn JournalWriter>, StoreError>;

/// Reason why the log accepts nothing now. A later try may succeed: some of these pass without help, a full disk needs
/// space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepting {
    #[error("the disk has less free space than log.disk_reserve")]
    DiskFull,
    #[error("closed journals wait to be sealed")]
    SealingBehind,
    #[error("no journal can be opened")]
    NoJournal,
    /// The log cannot decide whether an event came before.
    #[error("lost dedup runs are being made again from the log")]
    KeysUnknown,
    /// The keys of these events would fill memory.
    #[error("the dedup runs of too many events could not be saved yet")]
    KeysUnsaved,
}

/// Limits from the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct JournalLimits {
    /// Bytes of values in one journal.
    pub journal_bytes: u64,
    /// Bytes of the disk that stay free.
    pub disk_reserve: u64,
}

/// Message from the writer to the sealer.
pub(super) enum SealerMessage {
    /// The next journal is needed soon.
    Open,
    /// The journal that was opened is now active.
    Switched {
        /// Journal that was active before. `None` if this is the first journal of this process.
        closed: Option<Box<dyn JournalWriter>>,
    },
}

/// Handle of the journals, which the writer holds.
pub(super) struct JournalRotation {
    store: Arc<FrameStore>,
    directory: PathBuf,
    limits: JournalLimits,
    active: Option<ActiveJournal>,
    /// True if the next journal was requested. The sealer opens the first one without a request.
    is_next_requested: bool,
    /// True if the last wait was in vain.
    has_waited: bool,
    spares: Receiver<Box<dyn JournalWriter>>,
    sealer: SyncSender<SealerMessage>,
}

struct ActiveJournal {
    journal: Box<dyn JournalWriter>,
    events: u64,
    /// Uptime of the machine when the journal became active.
    since: Duration,
}

impl ActiveJournal {
    fn is_full(&self, limits: JournalLimits, uptime: Duration) -> bool {
        self.journal.bytes() >= limits.journal_bytes
            || self.journal.values() >= VALUES_MAX
            || self.events >= EVENTS_MAX
            || (self.events > 0 && uptime.saturating_sub(self.since) >= AGE_MAX)
    }

    /// Returns whether the next journal is due to be opened. Opening takes several syncs, so it does not happen during
    /// a switch.
    fn is_half_full(&self, limits: JournalLimits, uptime: Duration) -> bool {
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

/// Journal that the next commit goes to.
pub(super) struct CommitTarget {
    pub sequence: u64,
    /// True if nothing was committed to it yet.
    pub is_unused: bool,
}

impl JournalRotation {
    pub fn new(
        store: Arc<FrameStore>,
        directory: PathBuf,
        limits: JournalLimits,
        spares: Receiver<Box<dyn JournalWriter>>,
        sealer: SyncSender<SealerMessage>,
    ) -> Self {
        Self { store, directory, limits, active: None, is_next_requested: true, has_waited: false, spares, sealer }
    }

    /// Makes room. Returns once the active journal takes another commit.
    pub fn make_room(&mut self, uptime: Duration) -> Result<(), NotAccepting> {
        // If the free space is not known, the commit finds out.
        if free_space(&self.directory).is_ok_and(|free| free < self.limits.disk_reserve) {
            return Err(NotAccepting::DiskFull);
        }
        match &self.active {
            Some(active) if !active.is_full(self.limits, uptime) => {
                if active.is_half_full(self.limits, uptime) {
                    self.request_next();
                }
                return Ok(());
            }
            Some(_) => self.wait_for_sealing(CLOSED_MAX)?,
            // The closed journals of earlier processes are bounded, too.
            None => self.wait_for_sealing(2 * CLOSED_MAX)?,
        }
        self.request_next();
        let journal = self.wait_for_spare()?;
        self.is_next_requested = false;
        self.has_waited = false;
        self.store.begin_journal(journal.sequence());
        let before = self.active.replace(ActiveJournal { journal, events: 0, since: uptime });
        self.send(SealerMessage::Switched { closed: before.map(|active| active.journal) });
        Ok(())
    }

    /// Requests the next journal, once.
    fn request_next(&mut self) {
        if !std::mem::replace(&mut self.is_next_requested, true) {
            self.send(SealerMessage::Open);
        }
    }

    fn send(&self, message: SealerMessage) {
        // The sealer takes messages until this end is dropped. If it has panicked, no spare comes any more.
        if self.sealer.send(message).is_err() {
            tracing::error!("the sealer ended unexpectedly; no further journal is opened");
        }
    }

    /// Returns the longest time of a wait, which usually takes milliseconds. After a wait in vain, later calls only
    /// check, until the next switch.
    fn patience(&self) -> Duration {
        if self.has_waited { Duration::ZERO } else { PATIENCE }
    }

    /// Waits until fewer than `closed_max` closed journals wait to be sealed.
    fn wait_for_sealing(&mut self, closed_max: usize) -> Result<(), NotAccepting> {
        let is_sealed = self.store.wait_for_sealing(closed_max, self.patience());
        self.has_waited |= !is_sealed;
        if is_sealed { Ok(()) } else { Err(NotAccepting::SealingBehind) }
    }

    /// Waits for the next journal.
    fn wait_for_spare(&mut self) -> Result<Box<dyn JournalWriter>, NotAccepting> {
        let spare = self.spares.recv_timeout(self.patience());
        self.has_waited |= spare.is_err();
        spare.map_err(|_| NotAccepting::NoJournal)
    }

    /// Returns the journal that the next commit goes to. `None` if no journal is open.
    pub fn target(&self) -> Option<CommitTarget> {
        let active = self.active.as_ref()?;
        Some(CommitTarget { sequence: active.journal.sequence(), is_unused: active.events == 0 })
    }

    /// Commits frames. Returns once they are on stable storage.
    pub fn commit(&mut self, frames: &[NewFrame]) -> Result<(), StoreError> {
        let closed = || StoreError::new("write the journal", "no journal is open");
        let active = self.active.as_mut().ok_or_else(closed)?;
        for frame in frames {
            active.journal.put(&frame.journal_frame)?;
        }
        active.journal.sync()?;
        active.events += frames.iter().map(|frame| frame.events).sum::<u64>();
        Ok(())
    }

    /// Makes committed frames visible to readers.
    pub fn publish(&self, frames: Vec<NewFrame>) {
        self.store.append(frames.into_iter().map(|frame| (frame.first, frame.journal_frame.frame)));
    }
}
