//! Assembles one commit from deliveries: assigns positions, gathers records into frames, and keeps the commit within
//! its bounds.
//!
//! Must not know the disk. A batch is committed whole or not at all.

use super::append::{AppendError, AppendOutcome, AppendReply, Appended, Pending, Prepared, QueueOutcome, Undecided};
use crate::event::{ParsedEvent, Point, Position, Timestamp};
use crate::log::dedup::KeyEntry;
use crate::log::format::FrameBuilder;
use crate::log::journal::{JournalFrame, JournalKey, frame_bytes_max, values_bytes};
use crate::log::journal_rotation::NewFrame;
use crate::log::writer_state::Commit;
use crate::storage::DecodeError;

/// Maximum bytes of values in one commit. sled reuses a freed segment by its own notion of stable, about two segments
/// (1 MiB) later. So never more than this goes into it between two fdatasyncs.
const COMMIT_BYTES_MAX: usize = 512 * 1024;
/// Maximum bytes that the header and the columns of the unfinished frame can add.
const OVERHEAD_BYTES_MAX: usize = 8 * 1024;
/// Maximum number of records in one frame. Their digests then leave most of a value to the frame.
const FRAME_RECORDS_MAX: usize = 32;

/// One commit that is being assembled.
pub struct CommitBatch {
    frames: Vec<NewFrame>,
    /// Bytes of the values of `frames`.
    frames_bytes: usize,
    builder: FrameBuilder,
    /// Bytes of the records in `builder`. `keys` has the keys that they claim.
    building_bytes: usize,
    keys: Vec<JournalKey>,
    generation: u32,
    before: Point,
    recorded_at: Timestamp,
    /// Replies owed for the new events.
    news: Vec<(AppendReply, Appended)>,
    /// The new events, parsed, for the fold.
    parsed: Vec<ParsedEvent>,
    /// Replies owed for events that the log had before.
    repeats: Vec<Repeat>,
    /// Deliveries that cannot be decided without a read, each with the first entry of its key.
    undecided: Vec<(Pending, KeyEntry)>,
    /// Replies owed for refused deliveries, each with the reason.
    refusals: Vec<(AppendReply, AppendError)>,
    /// Error of a frame that could not be made: a bug, which fails the commit.
    fault: Option<DecodeError>,
}

impl CommitBatch {
    /// Creates an empty batch for the positions after `head`. Time never goes back, whatever the clock does.
    /// `generation` is that of the log secret that made the claims.
    pub fn after(head: &Point, now: Timestamp, generation: u32) -> Self {
        let first = head.position + 1;
        Self {
            frames: Vec::new(),
            frames_bytes: 0,
            builder: FrameBuilder::new(first, head.chain, FRAME_RECORDS_MAX, frame_bytes_max(FRAME_RECORDS_MAX)),
            building_bytes: 0,
            keys: Vec::new(),
            generation,
            before: *head,
            recorded_at: now.max(head.recorded_at),
            news: Vec::new(),
            parsed: Vec::new(),
            repeats: Vec::new(),
            undecided: Vec::new(),
            refusals: Vec::new(),
            fault: None,
        }
    }

    /// Returns whether it holds no event.
    pub fn is_empty(&self) -> bool {
        self.news.is_empty()
    }

    /// Returns the head after this is committed.
    pub fn head(&self) -> Point {
        if self.is_empty() {
            return self.before;
        }
        Point { position: self.builder.next() - 1, chain: self.builder.chain(), recorded_at: self.recorded_at }
    }

    /// Returns the position that the next new event gets.
    pub fn next(&self) -> Position {
        self.builder.next()
    }

    /// Returns whether there is room for a record of this size. An empty commit has room for any.
    pub fn has_room(&self, size: usize) -> bool {
        let building_bytes = values_bytes(self.building_bytes + size + OVERHEAD_BYTES_MAX, self.keys.len() + 1);
        self.is_empty() || self.frames_bytes + building_bytes <= COMMIT_BYTES_MAX
    }

    /// Appends a new event. `conflict_of` is the first event with its key. `None` if the two do not conflict.
    pub fn add(&mut self, pending: Pending, conflict_of: Option<Position>) {
        let Pending { prepared: Prepared { record, tenant, body }, claim, reply, .. } = pending;
        if !self.builder.fits(record.size()) {
            self.close_frame();
        }
        let position = self.next();
        let recorded_at = self.recorded_at;
        let chain = self.builder.push(recorded_at, conflict_of, &record);
        self.building_bytes += record.size();
        self.keys.push(JournalKey { digest: claim.digest.to_bytes(), fingerprint: claim.fingerprint.0 });
        let is_conflict = conflict_of.is_some();
        let reached = Point { position, chain, recorded_at };
        let first = conflict_of.unwrap_or(position);
        let outcome = if is_conflict { AppendOutcome::Conflict } else { AppendOutcome::New };
        let appended = Appended { position: first, outcome, reached };
        self.news.push((reply, appended));
        let provenance = record.header().provenance;
        let applies_to = if is_conflict { None } else { record.header().mode.applies_to() };
        self.parsed.push(ParsedEvent { position, recorded_at, chain, tenant, provenance, applies_to, body });
    }

    /// Adds an answer about the first event of a key.
    pub fn repeat(&mut self, reply: AppendReply, first: Position, outcome: AppendOutcome) {
        self.repeats.push(Repeat { reply, first, outcome });
    }

    /// Gives back a delivery that cannot be decided without a read.
    pub fn give_back(&mut self, pending: Pending, first: KeyEntry) {
        self.undecided.push((pending, first));
    }

    /// Refuses a delivery: nothing is appended. The answer goes out with the others, so a later delivery is judged by a
    /// later reading of the clock.
    pub fn refuse(&mut self, pending: Pending, error: AppendError) {
        if let Some(sequence) = &pending.origin.sequence {
            sequence.break_off(&error);
        }
        self.refusals.push((pending.reply, error));
    }

    /// Takes the frames of the commit, once.
    pub fn take_frames(&mut self) -> Result<Vec<NewFrame>, DecodeError> {
        self.close_frame();
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(std::mem::take(&mut self.frames)),
        }
    }

    /// Takes the new events, once.
    pub fn take_parsed(&mut self) -> Vec<ParsedEvent> {
        std::mem::take(&mut self.parsed)
    }

    fn close_frame(&mut self) {
        if self.builder.is_empty() {
            return;
        }
        let first = self.builder.next() - self.keys.len() as u64;
        match self.builder.finish() {
            Ok(frame) => {
                let keys = std::mem::take(&mut self.keys);
                self.frames_bytes += values_bytes(frame.len(), keys.len());
                let events = keys.len() as u64;
                let journal_frame = JournalFrame { generation: self.generation, frame: frame.into(), keys };
                self.frames.push(NewFrame { first, events, journal_frame });
            }
            Err(error) => self.fault = Some(error),
        }
        self.building_bytes = 0;
    }

    /// Returns the counts of this commit.
    pub fn summarize(&self, micros: i64) -> Commit {
        let head = self.head();
        let events = head.position - self.before.position;
        Commit { events, bytes: self.frames_bytes as u64, micros: micros.max(0).cast_unsigned(), head }
    }

    pub fn answer(self, result: &Result<(), AppendError>) {
        let reached = self.head();
        for (reply, appended) in self.news {
            reply.send(result.clone().map(|()| QueueOutcome::Appended(appended)));
        }
        for Repeat { reply, first, outcome } in self.repeats {
            let appended = Appended { position: first, outcome, reached };
            reply.send(result.clone().map(|()| QueueOutcome::Appended(appended)));
        }
        for (Pending { prepared, claim, lookup, reply, .. }, first) in self.undecided {
            let undecided = Undecided { prepared, claim, lookup, first };
            reply.send(result.clone().map(|()| QueueOutcome::Undecided(Box::new(undecided))));
        }
        for (reply, error) in self.refusals {
            reply.send(Err(error));
        }
    }
}

/// Answer owed about the first event of a key.
struct Repeat {
    reply: AppendReply,
    first: Position,
    outcome: AppendOutcome,
}
