//! What an open log is believed on: nothing that sled says.
//!
//! sled silently shortens a damaged log. So the identity, the head witness, the dedup runs, every block that these do not
//! cover and the chain through them must agree, before anything is written; otherwise the range in doubt is named and the
//! log stays shut. What the runs do cover was read before; damage to it is found by whoever reads it again.

use std::sync::Arc;

use super::dedup::{DedupIndex, Digest, Known, RunStore, Saver};
use super::reader::{Run, read_run};
use super::witness::{MarkStore, Witness};
use super::{Head, OpenError, chain};
use crate::blocklog::{Batch, Key, ReadError, Store, StoreError, last_position};
use crate::event::{Event, Position, Timestamp};
use crate::storage::{Garbled, Put, Take};
use crate::token::Identity;

/// Where the log's identity is stored: no block can be there.
const IDENTITY: Key = Key { first: 0, chunk: 0 };
const IDENTITY_FORMAT: &[u8; 4] = b"cli1";

/// Where a log is kept.
pub(super) struct Disk {
    pub store: Arc<dyn Store>,
    pub marks: Arc<dyn MarkStore>,
    pub runs: Arc<dyn RunStore>,
}

/// A log that was checked to its last event.
pub(super) struct Recovered {
    pub identity: Identity,
    pub head: Head,
    pub index: Arc<DedupIndex>,
    /// Has the claims that no run covers.
    pub saver: Saver,
}

/// Checks the log, or begins a new one of identity `fresh`. Reads what `known` does not cover, and saves runs of it, of
/// `run_events` each.
pub(super) fn recover(disk: &Disk, known: Known, fresh: Identity, run_events: u64) -> Result<Recovered, OpenError> {
    let Disk { store, marks, runs } = disk;
    let (store, marks): (&dyn Store, &dyn MarkStore) = (&**store, &**marks);
    let identity = match identity(store)? {
        Some(identity) => identity,
        None => create(store, marks, fresh)?,
    };
    let witness = check_witness(store, marks, identity)?;
    let known = known.of(identity, &**runs).map_err(|error| StoreError::new("remove the dedup runs", error))?;
    let (reached, index) = (known.reached.map_or(empty(identity), |(_, head)| head), Arc::new(known.index));
    let last = last_position(store)?;
    check_reached(store, &witness, &reached, last)?;
    let saver = Saver::spawn(runs.clone(), identity, run_events, reached.position)?;
    let mut scan = Scan { store, witness, index: &index, saver, head: reached };
    scan.run(last)?;
    let Scan { head, saver, .. } = scan;
    Ok(Recovered { identity, head, index, saver })
}

fn identity(store: &dyn Store) -> Result<Option<Identity>, OpenError> {
    let Some(value) = store.get(IDENTITY)? else { return Ok(None) };
    let mut take = Take(&value);
    let mut read = || -> Result<Option<Identity>, Garbled> {
        let format = take.array()?;
        let identity =
            Identity { log_id: u128::from_be_bytes(take.array()?), epoch: u128::from_be_bytes(take.array()?) };
        let crc = take.u32()?;
        Ok((format == *IDENTITY_FORMAT && crc == crc32c::crc32c(&value[..value.len() - 4])).then_some(identity))
    };
    if let Ok(Some(identity)) = read() {
        return Ok(Some(identity));
    }
    let last = last_position(store)?.max(1);
    Err(OpenError::Damaged { range: 1..=last, reason: "the log's identity cannot be read".into() })
}

/// A new log: only where there is nothing, and nothing says that there was something.
fn create(store: &dyn Store, marks: &dyn MarkStore, fresh: Identity) -> Result<Identity, OpenError> {
    let last = last_position(store)?;
    let witness = marks.marked()?.map(|bytes| Witness::decode(&bytes));
    if last > 0 || witness.is_some_and(|witness| witness.is_none_or(|witness| witness.position > 0)) {
        let last = last.max(witness.flatten().map_or(1, |witness| witness.position));
        return Err(OpenError::Damaged { range: 1..=last, reason: "the log's identity is gone".into() });
    }
    let mut value = Vec::new();
    value.put(IDENTITY_FORMAT);
    value.put(&fresh.log_id.to_be_bytes());
    value.put(&fresh.epoch.to_be_bytes());
    value.put_u32(crc32c::crc32c(&value));
    store.apply(&Batch { puts: vec![(IDENTITY, value)] })?;
    store.sync()?;
    Ok(fresh)
}

/// The witness of this log. A missing one can only be of a log that was never acknowledged from.
fn check_witness(store: &dyn Store, marks: &dyn MarkStore, identity: Identity) -> Result<Witness, OpenError> {
    let last = last_position(store)?;
    let damaged = |to: Position, reason: &str| OpenError::Damaged { range: 1..=to.max(1), reason: reason.into() };
    let witness = match marks.marked()?.map(|bytes| Witness::decode(&bytes)) {
        Some(Some(witness)) => witness,
        None if last == 0 => Witness::of(identity, &empty(identity)),
        Some(None) => return Err(damaged(last, "the head witness (file `head`) cannot be read")),
        None => return Err(damaged(last, "the head witness (file `head`) is gone")),
    };
    if witness.identity != identity {
        return Err(damaged(last, "the head witness (file `head`) is of another log"));
    }
    if witness.position > last {
        let reason = "the log ends before its head witness (file `head`)".into();
        return Err(OpenError::Damaged { range: last + 1..=witness.position, reason });
    }
    Ok(witness)
}

fn empty(identity: Identity) -> Head {
    Head { position: 0, chain: chain::genesis(identity.log_id), recorded_at: Timestamp::default() }
}

/// What the dedup runs say of the log must be there, and the witness be on the same history.
fn check_reached(store: &dyn Store, witness: &Witness, reached: &Head, last: Position) -> Result<(), OpenError> {
    check_chain(witness, reached, last)?;
    if reached.position == 0 {
        return Ok(());
    }
    if reached.position > last {
        let reason = "the log ends before its newest dedup run (directory `dedup`)".into();
        return Err(OpenError::Damaged { range: last + 1..=reached.position, reason });
    }
    if head_at(store, reached.position, last)? != *reached {
        let reason = format!("the chain at {} is not the one its dedup run saw (directory `dedup`)", reached.position);
        return Err(OpenError::Damaged { range: 1..=last, reason });
    }
    // The scan will not come by it.
    if (1..reached.position).contains(&witness.position) {
        check_chain(witness, &head_at(store, witness.position, last)?, last)?;
    }
    Ok(())
}

fn head_at(store: &dyn Store, position: Position, last: Position) -> Result<Head, OpenError> {
    let run = read(store, position, last)?;
    let damaged = || OpenError::Damaged { range: position..=last, reason: "no block holds it".into() };
    run.events.first().map(Head::of).ok_or_else(damaged)
}

fn read(store: &dyn Store, from: Position, last: Position) -> Result<Run, OpenError> {
    read_run(store, from).map_err(|error| match error {
        ReadError::Damaged { reason, .. } => OpenError::Damaged { range: from..=last, reason: reason.into() },
        ReadError::Store(error) => OpenError::Store(error),
    })
}

/// Reads every block to the end, checks that the chain runs through them and through the witness, and collects the keys.
struct Scan<'a> {
    store: &'a dyn Store,
    witness: Witness,
    index: &'a DedupIndex,
    saver: Saver,
    /// As far as it came.
    head: Head,
}

impl Scan<'_> {
    fn run(&mut self, last: Position) -> Result<(), OpenError> {
        while self.head.position < last {
            let from = self.head.position + 1;
            let run = read(self.store, from, last)?;
            if run.before != self.head.chain {
                let reason = "the chain is broken between two blocks".into();
                return Err(OpenError::Damaged { range: from..=last, reason });
            }
            for event in &run.events {
                self.head = Head::of(event);
                check_chain(&self.witness, &self.head, last)?;
                self.claim(event);
            }
            self.saver.durable(self.head);
        }
        Ok(())
    }

    fn claim(&mut self, event: &Event) {
        let Some(key) = &event.delivery.key else { return };
        let digest = Digest::of(self.witness.identity.log_id, &event.delivery.tenant, key);
        // The first stays.
        if self.index.claim(digest, event.position).is_none() {
            self.saver.claimed(digest, event.position);
        }
    }
}

fn check_chain(witness: &Witness, head: &Head, last: Position) -> Result<(), OpenError> {
    if witness.position != head.position || *witness == Witness::of(witness.identity, head) {
        return Ok(());
    }
    let reason = format!("the chain at {} is not the one its head witness saw", head.position);
    Err(OpenError::Damaged { range: 1..=last.max(1), reason })
}
