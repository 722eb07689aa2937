//! The end of writing: once a write has failed, everybody is told why, and nothing is written any more.

use tokio::sync::watch;

use super::Health;
use super::append::AppendError;
use crate::blocklog::StoreError;

/// Fails the log if its thread panics while holding this.
pub(super) struct Watchman(pub Poison);

impl Drop for Watchman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&StoreError::new("write the log", "the writer panicked"));
        }
    }
}

#[derive(Clone)]
pub(super) struct Poison(watch::Sender<Health>);

impl Poison {
    pub fn new(health: watch::Sender<Health>) -> Self {
        Self(health)
    }

    /// The first failure stays.
    pub fn fail(&self, error: &StoreError) {
        self.0.send_if_modified(|health| {
            let first = *health == Health::Writable;
            if first {
                *health = Health::Failed(error.to_string().into());
            }
            first
        });
    }

    pub fn check(&self) -> Result<(), AppendError> {
        match &*self.0.borrow() {
            Health::Writable => Ok(()),
            Health::Failed(reason) => Err(AppendError::Failed(reason.clone())),
        }
    }
}
