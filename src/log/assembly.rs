//! Makes one commit of deliveries: assigns positions, gathers them into frames, keeps the commit within its bounds.
//!
//! Knows nothing of the disk; what it makes is either committed whole or not at all.

use super::append::{AppendError, Appended, Pending, Prepared, Reply, Taken};
use super::dedup::Digest;
use super::format::FrameBuilder;
use super::journal::{JournalFrame, frame_bytes_max};
use super::journals::NewFrame;
use super::{Commit, Head};
use crate::event::{ParsedEvent, Position, Timestamp};
use crate::storage::Garbled;

/// sled reuses a freed segment by its own notion of stable, about two segments (1 MiB) later: never more than this goes
/// into it between two fdatasyncs.
const COMMIT_BYTES_MAX: usize = 512 * 1024;
/// What the frame headers, columns and digests of the frame in the making can add.
const OVERHEAD_BYTES_MAX: usize = 8 * 1024;
/// Records of one frame: its digests leave most of a value to the frame.
const FRAME_RECORDS_MAX: usize = 32;

/// One commit in the making.
pub(super) struct Assembly {
    frames: Vec<NewFrame>,
    frames_bytes: usize,
    builder: FrameBuilder,
    /// Bytes of the records in `builder`, and the digests of the keys that they claim.
    building_bytes: usize,
    digests: Vec<[u8; 16]>,
    generation: u32,
    before: Head,
    recorded_at: Timestamp,
    /// Who waits for each new event, in the order of positions.
    news: Vec<(Reply, Appended)>,
    /// The same events for the fold.
    parsed: Vec<ParsedEvent>,
    /// Who waits to hear of an event that was there before.
    repeats: Vec<(Reply, Appended, Prepared)>,
    /// Who waits to hear why nothing was appended.
    refusals: Vec<(Reply, AppendError)>,
    /// A frame could not be made: a bug, which fails the commit.
    fault: Option<Garbled>,
}

impl Assembly {
    /// An empty one, for the positions after `head`. Time never runs backwards, whatever the clock does.
    /// `generation`: of the log secret that the claims are made with.
    pub fn after(head: &Head, now: Timestamp, generation: u32) -> Self {
        let first = head.position + 1;
        Self {
            frames: Vec::new(),
            frames_bytes: 0,
            builder: FrameBuilder::new(first, head.chain, FRAME_RECORDS_MAX, frame_bytes_max(FRAME_RECORDS_MAX)),
            building_bytes: 0,
            digests: Vec::new(),
            generation,
            before: *head,
            recorded_at: now.max(head.recorded_at),
            news: Vec::new(),
            parsed: Vec::new(),
            repeats: Vec::new(),
            refusals: Vec::new(),
            fault: None,
        }
    }

    /// Whether it holds no event.
    pub fn is_empty(&self) -> bool {
        self.news.is_empty()
    }

    /// The head once this is committed.
    pub fn head(&self) -> Head {
        if self.is_empty() {
            return self.before;
        }
        Head { position: self.builder.next() - 1, chain: self.builder.chain(), recorded_at: self.recorded_at }
    }

    /// The position that the next new event gets.
    pub fn next(&self) -> Position {
        self.builder.next()
    }

    /// The event at a position, if it is new with this commit.
    pub fn appended(&self, position: Position) -> Option<Appended> {
        let index = position.checked_sub(self.before.position + 1)?;
        self.news.get(usize::try_from(index).ok()?).map(|(_, appended)| *appended)
    }

    /// Whether there is room for a record of this size. An empty commit has room for any.
    pub fn has_room(&self, size: usize) -> bool {
        self.is_empty() || self.frames_bytes + self.building_bytes + size + OVERHEAD_BYTES_MAX <= COMMIT_BYTES_MAX
    }

    /// Appends a new event.
    pub fn add(&mut self, pending: Pending) {
        let Pending { prepared, claim, conflict_of, reply, .. } = pending;
        let Prepared { record, tenant, body } = prepared;
        if !self.builder.fits(record.size()) {
            self.close_frame();
        }
        let position = self.next();
        let chain = self.builder.push(self.recorded_at, conflict_of, &record);
        self.building_bytes += record.size();
        self.digests.push(claim.map_or(Digest::NONE, |claim| claim.digest()).to_bytes());
        let appended = Appended { position, recorded_at: self.recorded_at, duplicate: false, conflict: false, chain };
        self.news.push((reply, appended));
        let (provenance, mode) = (record.header().provenance, record.header().mode);
        let applies_to = mode.applies_to().filter(|_| conflict_of.is_none());
        let recorded_at = self.recorded_at;
        self.parsed.push(ParsedEvent { position, recorded_at, chain, tenant, provenance, applies_to, body });
    }

    /// Owes an answer about the first event of its key.
    pub fn repeat(&mut self, pending: Pending, first: Appended) {
        self.repeats.push((pending.reply, Appended { duplicate: true, ..first }, pending.prepared));
    }

    /// Appends nothing. It is answered with the others: what comes after it is judged by a later reading of the clock.
    pub fn refuse(&mut self, pending: Pending, error: AppendError) {
        if let Some(sequence) = &pending.origin.sequence {
            sequence.break_off(&error);
        }
        self.refusals.push((pending.reply, error));
    }

    /// The frames of the commit, once.
    pub fn take_frames(&mut self) -> Result<Vec<NewFrame>, Garbled> {
        self.close_frame();
        self.fault.map_or_else(|| Ok(std::mem::take(&mut self.frames)), Err)
    }

    /// The new events, once.
    pub fn take_parsed(&mut self) -> Vec<ParsedEvent> {
        std::mem::take(&mut self.parsed)
    }

    fn close_frame(&mut self) {
        if self.builder.is_empty() {
            return;
        }
        let first = self.builder.next() - self.digests.len() as u64;
        match self.builder.finish() {
            Ok(frame) => {
                self.frames_bytes += frame.len();
                let digests = std::mem::take(&mut self.digests);
                let events = digests.len() as u64;
                let journal_frame = JournalFrame { generation: self.generation, frame: frame.into(), digests };
                self.frames.push(NewFrame { first, events, journal_frame });
            }
            Err(garbled) => self.fault = Some(garbled),
        }
        self.building_bytes = 0;
    }

    /// Counts of this commit.
    pub fn summarize(&self, micros: i64) -> Commit {
        let head = self.head();
        let events = head.position - self.before.position;
        Commit { events, bytes: self.frames_bytes as u64, micros: micros.max(0).cast_unsigned(), head }
    }

    pub fn answer(self, result: &Result<(), AppendError>) {
        for (reply, appended) in self.news {
            reply.send(result.clone().map(|()| Taken::New(appended)));
        }
        for (reply, first, prepared) in self.repeats {
            reply.send(result.clone().map(|()| Taken::Repeated { first, prepared }));
        }
        for (reply, error) in self.refusals {
            reply.send(Err(error));
        }
    }
}
