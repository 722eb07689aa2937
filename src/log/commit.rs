//! The committer: makes one assembly at a time durable, then visible, then answers. Runs on its own thread, for sled blocks.
//!
//! After the first failed commit it answers everybody with the reason and commits nothing more.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::append::AppendError;
use super::assembly::Assembly;
use super::dedup::DedupIndex;
use super::poison::Poison;
use super::store::{Store, StoreError};
use super::witness::{Witness, WitnessKeeper};
use super::{Commit, Head};
use crate::event::Clock;
use crate::token::Identity;

pub(super) struct Committer {
    pub store: Arc<dyn Store>,
    pub identity: Identity,
    pub index: Arc<DedupIndex>,
    pub head: watch::Sender<Head>,
    pub poison: Poison,
    pub witness: WitnessKeeper,
    pub clock: Clock,
    pub on_commit: Box<dyn Fn(Commit) + Send>,
}

impl Committer {
    /// Asks for one assembly after the other; ends when there are no more.
    pub fn run(self, ready: &mpsc::Sender<()>, mut assemblies: mpsc::Receiver<Assembly>) {
        let mut wanted = ready.blocking_send(()).is_ok();
        while wanted && let Some(assembly) = assemblies.blocking_recv() {
            let result = self.poison.check().and_then(|()| self.commit(&assembly));
            // The next assembly is closed while this one is answered.
            wanted = ready.blocking_send(()).is_ok();
            assembly.answer(&result);
        }
        self.witness.stop();
    }

    fn commit(&self, assembly: &Assembly) -> Result<(), AppendError> {
        if assembly.is_empty() {
            return Ok(());
        }
        let started = (self.clock)();
        self.make_durable(assembly).map_err(|error| {
            self.poison.fail(&error);
            AppendError::Failed(error.to_string().into())
        })?;
        for (digest, appended) in assembly.claims() {
            self.index.insert(digest, appended.position);
        }
        self.head.send_replace(assembly.head());
        (self.on_commit)(assembly.told((self.clock)().as_micros() - started.as_micros()));
        Ok(())
    }

    /// The witness is never ahead of what is durable.
    fn make_durable(&self, assembly: &Assembly) -> Result<(), StoreError> {
        self.store.apply(assembly.batch())?;
        self.store.sync()?;
        self.witness.mark(&Witness::of(self.identity, &assembly.head()))
    }
}
