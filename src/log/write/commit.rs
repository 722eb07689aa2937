//! The commit protocol: first durable, then witnessed, then visible. After the first failure nothing is committed any
//! more. Must not know the content of an event.

use tokio::sync::watch;

use super::append::AppendError;
use super::batch::CommitBatch;
use super::poison::Poison;
use crate::event::{Clock, Identity, Point};
use crate::log::files::witness::Witness;
use crate::log::files::witness_keeper::WitnessKeeper;
use crate::log::hand_over::HandOver;
use crate::log::journal_rotation::{JournalRotation, NewFrame, NotAccepting};
use crate::log::writer_state::Commit;
use crate::storage::StoreError;

pub struct Committer {
    pub journals: JournalRotation,
    pub identity: Identity,
    pub head: watch::Sender<Point>,
    pub hand_over: HandOver,
    pub poison: Poison,
    pub witness: WitnessKeeper,
    pub clock: Clock,
    pub on_commit: Box<dyn Fn(Commit) + Send>,
}

impl Committer {
    /// Makes room for a commit. See [`JournalRotation::make_room`].
    pub fn make_room(&mut self, uptime: std::time::Duration) -> Result<(), NotAccepting> {
        let room = self.journals.make_room(uptime);
        self.poison.set_refusal(room.err());
        room
    }

    /// Commits a batch. Returns `Ok` once its deliveries may be answered.
    pub fn commit(&mut self, batch: &mut CommitBatch) -> Result<(), AppendError> {
        self.poison.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        let started = (self.clock)();
        self.make_durable(batch).map_err(|error| {
            self.poison.fail(&error);
            AppendError::Failed(error.to_string().into())
        })?;
        // The witness's own sync runs next to this one, and may have failed meanwhile.
        self.poison.check()?;
        // Readers that see the head find its event handed over.
        self.hand_over.offer(batch.take_parsed());
        self.head.send_replace(batch.head());
        (self.on_commit)(batch.summarize((self.clock)().as_micros() - started.as_micros()));
        Ok(())
    }

    /// Syncs the last write of the witness, which commits leave for later.
    pub fn stop(self) {
        self.witness.stop();
    }

    /// Makes the frames durable, then writes the witness: it is never ahead of durable data. The first commit to a
    /// journal is answered only once the synced witness names that journal. So a journal that no witness names holds
    /// nothing acknowledged.
    fn make_durable(&mut self, batch: &mut CommitBatch) -> Result<(), StoreError> {
        let frames: Vec<NewFrame> = batch.take_frames().map_err(|error| StoreError::new("encode a frame", error.0))?;
        let Some(target) = self.journals.target() else {
            return Err(StoreError::new("write the journal", "no journal is open"));
        };
        self.journals.commit(&frames)?;
        let witness = Witness { identity: self.identity, journal: target.sequence, head: batch.head() };
        if target.is_unused {
            self.witness.mark_synced(&witness)?;
        } else {
            self.witness.mark(&witness)?;
        }
        self.journals.publish(frames);
        Ok(())
    }
}
