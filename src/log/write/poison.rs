//! Write poisoning: after one failed write, every later append fails with the same reason. Must not know the data that
//! is written.

use tokio::sync::watch;

use super::append::AppendError;
use crate::log::journal_rotation::NotAccepting;
use crate::log::writer_state::Health;
use crate::storage::StoreError;

/// Guard that fails the log if its thread panics while holding it.
pub struct Watchman(pub Poison);

impl Drop for Watchman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&StoreError::new("write the log", "the writer panicked"));
        }
    }
}

#[derive(Clone)]
pub struct Poison(watch::Sender<Health>);

impl Poison {
    pub fn new(health: watch::Sender<Health>) -> Self {
        Self(health)
    }

    /// Fails the log. The first failure stays.
    pub fn fail(&self, error: &StoreError) {
        self.0.send_if_modified(|health| {
            let first = !matches!(health, Health::Failed(_));
            if first {
                *health = Health::Failed(error.to_string().into());
            }
            first
        });
    }

    pub fn check(&self) -> Result<(), AppendError> {
        match &*self.0.borrow() {
            Health::Writable | Health::Refusing(_) => Ok(()),
            Health::Failed(reason) => Err(AppendError::Failed(reason.clone())),
        }
    }

    /// Sets the reason why appends are refused for now. `None` if they are accepted.
    pub fn set_refusal(&self, refusal: Option<NotAccepting>) {
        let next = refusal.map_or(Health::Writable, Health::Refusing);
        self.0.send_if_modified(|health| {
            let changes = !matches!(health, Health::Failed(_)) && *health != next;
            if changes {
                if let Some(reason) = refusal {
                    tracing::warn!(%reason, "refusing webhooks for now");
                } else {
                    tracing::info!("accepting webhooks again");
                }
                *health = next;
            }
            changes
        });
    }
}
