//! The commit protocol: first durable, then witnessed, then visible. After the first failure, never again.

use std::sync::Arc;

use tokio::sync::watch;

use super::append::AppendError;
use super::assembly::Assembly;
use super::poison::Poison;
use super::witness::{Witness, WitnessKeeper};
use super::{Commit, Head};
use crate::blocklog::{Store, StoreError};
use crate::event::Clock;
use crate::token::Identity;

pub(super) struct Committer {
    pub store: Arc<dyn Store>,
    pub identity: Identity,
    pub head: watch::Sender<Head>,
    pub poison: Poison,
    pub witness: WitnessKeeper,
    pub clock: Clock,
    pub on_commit: Box<dyn Fn(Commit) + Send>,
}

impl Committer {
    /// Only when this returns Ok may anybody be told.
    pub fn commit(&self, assembly: &Assembly) -> Result<(), AppendError> {
        self.poison.check()?;
        if assembly.is_empty() {
            return Ok(());
        }
        let started = (self.clock)();
        self.make_durable(assembly).map_err(|error| {
            self.poison.fail(&error);
            AppendError::Failed(error.to_string().into())
        })?;
        // The witness's own sync, beside this one, may have failed meanwhile.
        self.poison.check()?;
        self.head.send_replace(assembly.head());
        (self.on_commit)(assembly.told((self.clock)().as_micros() - started.as_micros()));
        Ok(())
    }

    /// Syncs what a commit leaves for later.
    pub fn stop(self) {
        self.witness.stop();
    }

    /// The witness is never ahead of what is durable.
    fn make_durable(&self, assembly: &Assembly) -> Result<(), StoreError> {
        self.store.apply(assembly.batch())?;
        self.store.sync()?;
        self.witness.mark(&Witness::of(self.identity, &assembly.head()))
    }
}
