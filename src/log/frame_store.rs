//! All frames of the log by position: those of sealed segments on disk, and those that are not sealed yet in memory, as they
//! were stored. Knows nothing of what a frame holds, nor of who appends, seals or reads.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;

use crate::event::{Position, Timestamp};
use crate::segment::{Frame, ReadError, Segment};

/// One sealed range.
#[derive(Clone)]
pub(super) enum Sealed {
    Segment(Arc<Segment>),
    /// A range whose segment is missing or cannot be opened.
    Damaged {
        range: RangeInclusive<Position>,
        reason: &'static str,
    },
}

impl Sealed {
    pub fn first(&self) -> Position {
        match self {
            Self::Segment(segment) => segment.header().first,
            Self::Damaged { range, .. } => *range.start(),
        }
    }

    pub fn last(&self) -> Position {
        match self {
            Self::Segment(segment) => segment.last(),
            Self::Damaged { range, .. } => *range.end(),
        }
    }
}

/// The frames of one journal.
#[derive(Clone)]
pub(super) struct JournalFrames {
    pub sequence: u64,
    /// In order, each with its first position.
    pub frames: Vec<(Position, Bytes)>,
}

#[derive(Default)]
struct Inner {
    /// Ascending and adjacent, from position 1 on.
    sealed: Vec<Sealed>,
    /// Ascending.
    journals: VecDeque<JournalFrames>,
    /// The last one is open, and grows.
    has_active: bool,
}

#[derive(Default)]
pub(super) struct FrameStore {
    inner: RwLock<Inner>,
    /// For those who wait until a journal is sealed.
    sealing: Mutex<()>,
    sealed: Condvar,
    /// How many reads the system refuses.
    #[cfg(test)]
    refusals: std::sync::atomic::AtomicU32,
}

impl Inner {
    fn closed_journals(&self) -> usize {
        self.journals.len() - usize::from(self.has_active)
    }
}

impl FrameStore {
    pub fn new(sealed: Vec<Sealed>, journals: Vec<JournalFrames>) -> Self {
        let inner = RwLock::new(Inner { sealed, journals: journals.into(), has_active: false });
        Self { inner, ..Self::default() }
    }

    /// Lets the system refuse the next reads.
    #[cfg(test)]
    pub fn refuse_reads(&self, count: u32) {
        self.refusals.store(count, std::sync::atomic::Ordering::Relaxed);
    }

    #[cfg(test)]
    fn take_refusal(&self) -> Result<(), crate::storage::StoreError> {
        use std::sync::atomic::Ordering::Relaxed;
        let taken = self.refusals.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        if taken.is_ok() { Err(crate::storage::StoreError::new("read", "refused")) } else { Ok(()) }
    }

    /// The bytes of the frame that holds a position, which the log must have.
    pub fn read(&self, position: Position) -> Result<Bytes, ReadError> {
        #[cfg(test)]
        self.take_refusal()?;
        let missing = || ReadError::Damaged { from: position, reason: "no frame holds it" };
        let sealed = {
            let inner = self.inner();
            if let Some(frame) = unsealed(&inner.journals, position) {
                return Ok(frame);
            }
            let index = inner.sealed.partition_point(|sealed| sealed.last() < position);
            inner.sealed.get(index).cloned().ok_or_else(missing)?
        };
        match sealed {
            Sealed::Damaged { reason, .. } => Err(ReadError::Damaged { from: position, reason }),
            Sealed::Segment(segment) => {
                let frame = segment.read(position).map_err(|error| error.at(position))?;
                frame.map(Bytes::from).ok_or_else(missing)
            }
        }
    }

    /// The last position of the frame, or of the damaged range or hole, that should hold a position: so far as is known without
    /// reading it.
    pub fn frame_end(&self, position: Position) -> Position {
        let inner = self.inner();
        let index = inner.sealed.partition_point(|sealed| sealed.last() < position);
        match inner.sealed.get(index) {
            Some(Sealed::Segment(segment)) => segment.frame_end(position),
            Some(Sealed::Damaged { range, .. }) if range.contains(&position) => *range.end(),
            _ => next_unsealed(&inner.journals, position).map_or(position, |next| next - 1),
        }
    }

    /// When the event at a position was recorded; in a gap, when the gap was. `None` if it cannot be read.
    pub fn recorded_at(&self, position: Position) -> Option<Timestamp> {
        let bytes = self.read(position).ok()?;
        Frame::decode(&bytes).ok().map(|frame| frame.header.last_recorded_at)
    }

    /// Begins a journal, to which the frames of later commits belong.
    pub fn begin_journal(&self, sequence: u64) {
        let mut inner = self.inner_mut();
        inner.journals.push_back(JournalFrames { sequence, frames: Vec::new() });
        inner.has_active = true;
    }

    /// Adds the frames of one commit, which is durable, to the newest journal.
    pub fn append(&self, frames: impl Iterator<Item = (Position, Bytes)>) {
        if let Some(journal) = self.inner_mut().journals.back_mut() {
            journal.frames.extend(frames);
        }
    }

    /// Number of closed journals that are not sealed.
    pub fn closed_journals(&self) -> usize {
        self.inner().closed_journals()
    }

    /// The frames of the oldest closed journal.
    pub fn oldest_closed(&self) -> Option<JournalFrames> {
        let inner = self.inner();
        if inner.closed_journals() == 0 { None } else { inner.journals.front().cloned() }
    }

    /// Whether a journal is not sealed, or not all of it.
    pub fn has_journal(&self, sequence: u64) -> bool {
        self.inner().journals.iter().any(|journal| journal.sequence == sequence)
    }

    /// Puts a segment, `None` if it had no frame, in the place of the oldest closed journal.
    pub fn seal_oldest(&self, segment: Option<Segment>) {
        let waiting = self.sealing.lock();
        let mut inner = self.inner_mut();
        inner.journals.pop_front();
        inner.sealed.extend(segment.map(|segment| Sealed::Segment(Arc::new(segment))));
        drop((inner, waiting));
        self.sealed.notify_all();
    }

    /// Waits until fewer closed journals than this are there. Returns false if the time is over before.
    pub fn wait_for_sealing(&self, closed_max: usize, patience: Duration) -> bool {
        let waiting = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_behind = |(): &mut ()| self.closed_journals() >= closed_max;
        let waited = self.sealed.wait_timeout_while(waiting, patience, is_behind);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub fn sealed(&self) -> Vec<Sealed> {
        self.inner().sealed.clone()
    }

    /// Puts one segment in the place of those that it covers.
    pub fn merge(&self, merged: Segment) {
        let (first, last) = (merged.header().first, merged.last());
        let mut inner = self.inner_mut();
        let from = inner.sealed.partition_point(|sealed| sealed.first() < first);
        let to = inner.sealed.partition_point(|sealed| sealed.last() <= last);
        inner.sealed.splice(from..to, [Sealed::Segment(Arc::new(merged))]);
    }

    fn inner(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner_mut(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last frame that begins at or before a position, which the log must have.
fn unsealed(journals: &VecDeque<JournalFrames>, position: Position) -> Option<Bytes> {
    let begins_by_then = |journal: &JournalFrames| journal.frames.first().is_some_and(|(first, _)| *first <= position);
    let journal = journals.iter().rev().find(|journal| begins_by_then(journal))?;
    let index = journal.frames.partition_point(|(first, _)| *first <= position).checked_sub(1)?;
    journal.frames.get(index).map(|(_, frame)| frame.clone())
}

/// Where the first frame begins that begins after a position.
fn next_unsealed(journals: &VecDeque<JournalFrames>, position: Position) -> Option<Position> {
    journals.iter().find_map(|JournalFrames { frames, .. }| {
        let index = frames.partition_point(|(first, _)| *first <= position);
        frames.get(index).map(|(first, _)| *first)
    })
}
