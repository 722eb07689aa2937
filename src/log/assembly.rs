//! Makes one commit of deliveries: assigns positions, gathers them into blocks, keeps the commit within its bounds.
//!
//! Knows nothing of the disk; what it makes is either committed whole or not at all.

use super::append::{AppendError, Appended, Pending, Reply, Taken};
use super::record::Prepared;
use super::{Commit, Head};
use crate::blocklog::{Batch, Builder, Effort, Packer};
use crate::event::{Position, Timestamp};

/// sled reuses a freed segment by its own notion of stable, about two segments (1 MiB) later: never more than this goes
/// into it between two fdatasyncs.
const COMMIT_BYTES_MAX: usize = 512 * 1024;
/// What headers and nonces can add to the records of the block in the making.
const OVERHEAD_BYTES_MAX: usize = 8 * 1024;

/// One commit in the making.
pub(super) struct Assembly {
    batch: Batch,
    builder: Builder,
    before: Head,
    recorded_at: Timestamp,
    /// Who waits for each new event, in the order of positions.
    news: Vec<(Reply, Appended)>,
    /// Who waits to hear of an event that was there before.
    repeats: Vec<(Reply, Appended, Prepared)>,
    /// Who waits to hear why nothing was appended.
    refusals: Vec<(Reply, AppendError)>,
}

impl Assembly {
    /// An empty one, for the positions after `head`, which go on in the block that `builder` has. Time never runs
    /// backwards, whatever the clock does.
    pub fn after(head: &Head, builder: Builder, now: Timestamp) -> Self {
        Self {
            batch: Batch::default(),
            builder,
            before: *head,
            recorded_at: now.max(head.recorded_at),
            news: Vec::new(),
            repeats: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// Whether it holds no event.
    pub fn is_empty(&self) -> bool {
        self.batch.puts.is_empty() && self.builder.new_count() == 0
    }

    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The head once this is committed.
    pub fn head(&self) -> Head {
        if self.is_empty() {
            return self.before;
        }
        Head { position: self.builder.next() - 1, chain: self.builder.hash(), recorded_at: self.recorded_at }
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

    /// Appends a new event.
    pub fn add(&mut self, pending: Pending) {
        let (position, chain) = pending.record.push(&mut self.builder, self.recorded_at);
        let appended = Appended { position, recorded_at: self.recorded_at, duplicate: false, conflict: false, chain };
        self.news.push((pending.reply, appended));
    }

    /// Owes it what is said of the first event of its key.
    pub fn repeat(&mut self, pending: Pending, first: Appended) {
        self.repeats.push((pending.reply, Appended { duplicate: true, ..first }, pending.record));
    }

    /// Appends nothing. It is answered with the others: what comes after it is judged by a later reading of the clock.
    pub fn refuse(&mut self, pending: Pending, error: AppendError) {
        if let Some(sequence) = &pending.origin.sequence {
            sequence.break_off(&error);
        }
        self.refusals.push((pending.reply, error));
    }

    /// What this commit was, for those who count.
    pub fn told(&self, micros: i64) -> Commit {
        let head = self.head();
        let events = head.position - self.before.position;
        Commit { events, bytes: self.batch.bytes() as u64, micros: micros.max(0).cast_unsigned(), head }
    }

    /// Returns what the next one goes on with.
    pub fn answer(self, result: &Result<(), AppendError>) -> Builder {
        for (reply, appended) in self.news {
            reply.send(result.clone().map(|()| Taken::New(appended)));
        }
        for (reply, first, record) in self.repeats {
            reply.send(result.clone().map(|()| Taken::Repeated { first, record }));
        }
        for (reply, error) in self.refusals {
            reply.send(Err(error));
        }
        self.builder
    }

    fn fits(&self, size: usize) -> bool {
        self.batch.bytes() + self.builder.records_len() + size + OVERHEAD_BYTES_MAX <= COMMIT_BYTES_MAX
    }
}

/// Gathers events into blocks, and blocks into commits.
pub(super) struct Assembler(Packer);

impl Assembler {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(Packer::new(Effort::Quick)?))
    }

    /// Whether the commit has room for a record of this size, after the block in the making was closed if it is full. An empty
    /// commit has room for any.
    pub fn has_room(&mut self, assembly: &mut Assembly, size: usize) -> bool {
        if self.0.is_full(&assembly.builder, size) {
            assembly.batch.puts.extend(self.0.finish(&mut assembly.builder));
        }
        assembly.is_empty() || assembly.fits(size)
    }

    /// Encodes what is left.
    pub fn finish(&mut self, assembly: &mut Assembly) {
        let others = assembly.batch.puts.len();
        assembly.batch.puts.extend(self.0.pause(&mut assembly.builder, others));
    }
}
