//! The end of writing: once a write has failed, everybody is told why, and nothing is written any more.

use tokio::sync::watch;

use super::Health;
use super::append::AppendError;
use super::journals::NoRoom;
use crate::storage::StoreError;

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

    /// Says why nothing is taken for now; `None` if it is taken.
    pub fn set_refusal(&self, refusal: Option<NoRoom>) {
        let next = refusal.map_or(Health::Writable, Health::Refusing);
        self.0.send_if_modified(|health| {
            let changes = !matches!(health, Health::Failed(_)) && *health != next;
            if changes {
                if let Some(reason) = refusal {
                    tracing::warn!(%reason, "no webhook is taken until this passes");
                } else {
                    tracing::info!("webhooks are taken again");
                }
                *health = next;
            }
            changes
        });
    }
}
