//! The change log, `changes@2`: of every position the states that it left, as a block log of its own. Derived from the log.
//!
//! ```text
//! record  i64 recorded_at, µs ‖ number length ‖ the changes, sealed: `record.rs`       mark  the hash chain's value there, its first 8 B
//! ```
//!
//! What its newest block still lacks is in the ring of newest changes. So only full blocks are written, there is nothing to
//! seal, and what a crash takes is made anew from the log.

use std::sync::Arc;

use super::bytes::take_count;
use super::entity::Mark;
use super::record::{self, Describe, TakeError};
use super::ring::{PositionChanges, Stretch};
use crate::blocklog::{self, Batch, Block, Builder, EXPANDED_BYTES_MAX, Packer, ReadError, Store, StoreError};
use crate::event::{Hash, Position, Timestamp};
use crate::storage::{Garbled, Put, SEAL_BYTES, Take, seal, unseal};
use crate::token::{ChainPrefix, chain_prefix};

/// What goes into the store between two syncs: sled reuses what it freed soon after.
const UNSYNCED_BYTES_MAX: usize = 512 * 1024;
/// What stands before the changes in a record, at most: the time, their length and the seal.
const RECORD_OVERHEAD: usize = 8 + 10 + SEAL_BYTES;

/// Appends to it.
pub(super) struct Writer {
    store: Arc<dyn Store>,
    builder: Builder,
    packer: Packer,
    unsynced: usize,
    record: Vec<u8>,
}

impl Writer {
    /// For what comes after `last`, where the chain's value is `chain`.
    pub fn new(store: Arc<dyn Store>, last: Position, chain: Hash) -> std::io::Result<Self> {
        let builder = Builder::new(last + 1, chain);
        Ok(Self { store, builder, packer: Packer::new()?, unsynced: 0, record: Vec::new() })
    }

    /// Every position before this one can be read.
    pub fn next_unwritten(&self) -> Position {
        self.builder.first()
    }

    /// `changes`: what the next event, the one at `origin`, changed, if anything.
    pub fn record(&mut self, origin: Mark, chain: &Hash, changes: Option<&PositionChanges>) -> Result<(), StoreError> {
        let mut changed = std::mem::take(&mut self.record);
        if let Some(PositionChanges { realm, changes, .. }) = changes {
            record::put(&mut changed, &origin, realm, changes);
        }
        if changed.len() + RECORD_OVERHEAD > EXPANDED_BYTES_MAX {
            let reason = format!("the changes of position {} take {} bytes", origin.position, changed.len());
            return Err(StoreError::new("record changes", reason));
        }
        if self.packer.is_full(&self.builder, changed.len()) {
            self.write()?;
        }
        self.builder.push(origin.recorded_at, *chain, &chain_prefix(chain), |out| {
            out.put_i64(origin.recorded_at.as_micros());
            if changed.is_empty() {
                out.put_varint(0);
            } else {
                out.put_varint((changed.len() + SEAL_BYTES) as u64);
                seal(&changed, out);
            }
        });
        changed.clear();
        self.record = changed;
        Ok(())
    }

    /// Makes all that was recorded readable.
    pub fn write(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for entry in self.packer.finish(&mut self.builder) {
            if batch.bytes() + entry.1.len() > UNSYNCED_BYTES_MAX {
                self.apply(&std::mem::take(&mut batch))?;
            }
            batch.puts.push(entry);
        }
        self.apply(&batch)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if self.unsynced + batch.bytes() > UNSYNCED_BYTES_MAX {
            self.sync()?;
        }
        self.unsynced += batch.bytes();
        self.store.apply(batch)
    }

    /// Makes all that was written durable.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.unsynced = 0;
        self.store.sync()
    }
}

/// Reads it, up to what is written.
#[derive(Clone)]
pub(super) struct ChangeLog(Arc<dyn Store>);

impl ChangeLog {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Its last position, and the chain's value there. None: it is empty.
    pub fn end(&self) -> Result<Option<(Position, Hash)>, ReadError> {
        let last = blocklog::last_position(&*self.0)?;
        let block = (last > 0).then(|| blocklog::read(&*self.0, last)).transpose()?;
        Ok(block.map(|block| (block.header.last(), block.header.after)))
    }

    /// The changes after a position and up to another, in order, at most so many, as far as one block has them.
    pub fn between(
        &self,
        after: Position,
        to: Position,
        count_max: usize,
        describe: &Describe<'_>,
    ) -> Result<Stretch, ReadError> {
        let block = blocklog::read(&*self.0, after + 1)?;
        let damaged = |garbled: Garbled| ReadError::Damaged { from: after + 1, reason: garbled.0 };
        let mut stretch = Stretch { changes: Vec::new(), through: after, chain: ChainPrefix::default() };
        for entry in Entries::of(&block).map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            if entry.position > to || stretch.changes.len() == count_max {
                break;
            }
            if entry.position > after {
                stretch.changes.extend(entry.decode(describe)?.map(Arc::new));
                (stretch.through, stretch.chain) = (entry.position, entry.chain);
            }
        }
        Ok(stretch)
    }

    /// What a position changed.
    pub fn at(&self, position: Position, describe: &Describe<'_>) -> Result<Option<PositionChanges>, ReadError> {
        let block = blocklog::read(&*self.0, position)?;
        let damaged = |garbled: Garbled| ReadError::Damaged { from: position, reason: garbled.0 };
        let mut entries = Entries::of(&block).map_err(damaged)?;
        let skipped = usize::try_from(position - block.header.first).unwrap_or(usize::MAX);
        for _ in 0..skipped {
            entries.next().transpose().map_err(damaged)?;
        }
        let entry = entries.next().transpose().map_err(damaged)?.ok_or_else(|| damaged(Garbled("no record of it")))?;
        entry.decode(describe)
    }
}

/// A block's records, one after the other, not yet decoded.
struct Entries<'a> {
    records: Take<'a>,
    marks: std::slice::Iter<'a, ChainPrefix>,
    next: Position,
}

struct Entry<'a> {
    position: Position,
    recorded_at: Timestamp,
    chain: ChainPrefix,
    changes: &'a [u8],
}

impl<'a> Entries<'a> {
    fn of(block: &'a Block) -> Result<Self, Garbled> {
        Ok(Self { records: Take(&block.records), marks: block.marks()?.iter(), next: block.header.first })
    }

    fn entry(&mut self, chain: ChainPrefix) -> Result<Entry<'a>, Garbled> {
        let recorded_at = Timestamp::from_micros(self.records.i64()?);
        let len = take_count(&mut self.records)?;
        let entry = Entry { position: self.next, recorded_at, chain, changes: self.records.bytes(len)? };
        self.next += 1;
        Ok(entry)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Garbled>;

    fn next(&mut self) -> Option<Self::Item> {
        let chain = *self.marks.next()?;
        Some(self.entry(chain))
    }
}

impl Entry<'_> {
    fn decode(&self, describe: &Describe<'_>) -> Result<Option<PositionChanges>, ReadError> {
        self.take(describe).map_err(|error| match error {
            TakeError::Garbled(garbled) => ReadError::Damaged { from: self.position, reason: garbled.0 },
            TakeError::Referred(error) => error,
        })
    }

    fn take(&self, describe: &Describe<'_>) -> Result<Option<PositionChanges>, TakeError> {
        let Self { position, recorded_at, chain, changes } = *self;
        if changes.is_empty() {
            return Ok(None);
        }
        let mut from = Take(unseal(changes)?);
        let (realm, changes) = record::take(&mut from, &Mark { position, recorded_at }, describe)?;
        from.end()?;
        Ok(Some(PositionChanges { position, chain, realm, changes }))
    }
}
