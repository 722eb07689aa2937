//! All frames of the log by position: those of sealed segments on disk, and unsealed ones in memory, as they were
//! stored. Must not know the content of a frame, nor how events are appended, sealed or read.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};

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

/// Frames of one journal.
#[derive(Clone)]
pub(super) struct JournalFrames {
    pub sequence: u64,
    /// Frames in order, each with its first position.
    pub frames: Vec<(Position, Bytes)>,
}

#[derive(Default)]
struct StoreContent {
    /// Sealed ranges, ascending and adjacent, from position 1 on.
    sealed: Vec<Sealed>,
    /// Journals, ascending by sequence.
    journals: VecDeque<JournalFrames>,
    /// Whether the last journal is open, and grows.
    has_active: bool,
}

#[derive(Default)]
pub(super) struct FrameStore {
    content: RwLock<StoreContent>,
    /// Lock for threads that wait until a journal is sealed.
    sealing: Mutex<()>,
    sealed: Condvar,
    /// Number of further reads that the system refuses.
    #[cfg(test)]
    refusals: std::sync::atomic::AtomicU32,
}

impl StoreContent {
    fn closed_journals(&self) -> usize {
        self.journals.len() - usize::from(self.has_active)
    }
}

impl FrameStore {
    pub fn new(sealed: Vec<Sealed>, journals: Vec<JournalFrames>) -> Self {
        let content = RwLock::new(StoreContent { sealed, journals: journals.into(), has_active: false });
        Self { content, ..Self::default() }
    }

    /// Makes the system refuse the next `count` reads.
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

    /// Returns the bytes of the frame that holds a position. The log must have the position.
    pub fn read(&self, position: Position) -> Result<Bytes, ReadError> {
        #[cfg(test)]
        self.take_refusal()?;
        let missing = || ReadError::Damaged { from: position, reason: "no frame holds the position" };
        let sealed = {
            let content = self.content.read();
            if let Some(frame) = unsealed(&content.journals, position) {
                return Ok(frame);
            }
            let index = content.sealed.partition_point(|sealed| sealed.last() < position);
            content.sealed.get(index).cloned().ok_or_else(missing)?
        };
        match sealed {
            Sealed::Damaged { reason, .. } => Err(ReadError::Damaged { from: position, reason }),
            Sealed::Segment(segment) => {
                let frame = segment.read(position).map_err(|error| error.at(position))?;
                frame.map(Bytes::from).ok_or_else(missing)
            }
        }
    }

    /// Returns the last position of the frame, damaged range or hole that should hold a position, as known without
    /// reading it.
    pub fn frame_end(&self, position: Position) -> Position {
        let content = self.content.read();
        let index = content.sealed.partition_point(|sealed| sealed.last() < position);
        match content.sealed.get(index) {
            Some(Sealed::Segment(segment)) => segment.frame_end(position),
            Some(Sealed::Damaged { range, .. }) if range.contains(&position) => *range.end(),
            _ => next_unsealed(&content.journals, position).map_or(position, |next| next - 1),
        }
    }

    /// Returns the time of the last record in the frame that holds a position; in a gap, the time of the gap. `None` if
    /// the frame cannot be read.
    pub fn recorded_at(&self, position: Position) -> Option<Timestamp> {
        let bytes = self.read(position).ok()?;
        Frame::decode(&bytes).ok().map(|frame| frame.header.last_recorded_at)
    }

    /// Begins a journal. The frames of later commits belong to it.
    pub fn begin_journal(&self, sequence: u64) {
        let mut content = self.content.write();
        content.journals.push_back(JournalFrames { sequence, frames: Vec::new() });
        content.has_active = true;
    }

    /// Adds the frames of one commit, which is durable, to the newest journal.
    pub fn append(&self, frames: impl Iterator<Item = (Position, Bytes)>) {
        if let Some(journal) = self.content.write().journals.back_mut() {
            journal.frames.extend(frames);
        }
    }

    /// Returns the number of closed journals that are not sealed.
    pub fn closed_journals(&self) -> usize {
        self.content.read().closed_journals()
    }

    /// Returns the frames of the oldest closed journal.
    pub fn oldest_closed(&self) -> Option<JournalFrames> {
        let content = self.content.read();
        if content.closed_journals() == 0 { None } else { content.journals.front().cloned() }
    }

    /// Returns whether a journal, or a part of it, is not sealed.
    pub fn has_journal(&self, sequence: u64) -> bool {
        self.content.read().journals.iter().any(|journal| journal.sequence == sequence)
    }

    /// Replaces the oldest closed journal by its segment. `None` if the journal had no frame.
    pub fn seal_oldest(&self, segment: Option<Segment>) {
        let waiting = self.sealing.lock();
        let mut content = self.content.write();
        content.journals.pop_front();
        content.sealed.extend(segment.map(|segment| Sealed::Segment(Arc::new(segment))));
        drop((content, waiting));
        self.sealed.notify_all();
    }

    /// Waits until there are fewer closed journals than `closed_max`. Returns false if the time is over before.
    pub fn wait_for_sealing(&self, closed_max: usize, patience: Duration) -> bool {
        let mut waiting = self.sealing.lock();
        let is_behind = |(): &mut ()| self.closed_journals() >= closed_max;
        // The last seal may have ended just as the time was over, so the condition decides and not the clock.
        self.sealed.wait_while_for(&mut waiting, is_behind, patience);
        self.closed_journals() < closed_max
    }

    pub fn sealed(&self) -> Vec<Sealed> {
        self.content.read().sealed.clone()
    }

    /// Replaces the segments that `merged` covers.
    pub fn merge(&self, merged: Segment) {
        let first = merged.header().first;
        let last = merged.last();
        let mut content = self.content.write();
        let from = content.sealed.partition_point(|sealed| sealed.first() < first);
        let to = content.sealed.partition_point(|sealed| sealed.last() <= last);
        content.sealed.splice(from..to, [Sealed::Segment(Arc::new(merged))]);
    }
}

/// Returns the last frame that begins at or before a position. The log must have the position.
fn unsealed(journals: &VecDeque<JournalFrames>, position: Position) -> Option<Bytes> {
    let begins_by_then = |journal: &JournalFrames| journal.frames.first().is_some_and(|(first, _)| *first <= position);
    let journal = journals.iter().rev().find(|journal| begins_by_then(journal))?;
    let index = journal.frames.partition_point(|(first, _)| *first <= position).checked_sub(1)?;
    journal.frames.get(index).map(|(_, frame)| frame.clone())
}

/// Returns the first position of the first frame that begins after a position.
fn next_unsealed(journals: &VecDeque<JournalFrames>, position: Position) -> Option<Position> {
    journals.iter().find_map(|JournalFrames { frames, .. }| {
        let index = frames.partition_point(|(first, _)| *first <= position);
        frames.get(index).map(|(first, _)| *first)
    })
}
