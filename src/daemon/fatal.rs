//! The permanent failure after which the daemon only serves reads for a while: reported once, visible to all readers.

use std::sync::Arc;

use tokio::sync::watch;

/// A failed commit of the log, with its reason. Nothing has been acknowledged since. A restart recovers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log accepts no more events: {0}")]
pub struct FatalError(pub Arc<str>);

/// Shared slot for the first fatal error, if any. Ignores later ones.
#[derive(Clone, Default)]
pub struct FatalCell(watch::Sender<Option<FatalError>>);

impl FatalCell {
    pub fn set(&self, fatal_error: FatalError) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                tracing::error!("{fatal_error}");
                *first = Some(fatal_error);
            }
            is_first
        });
    }

    pub fn get(&self) -> Option<FatalError> {
        self.0.borrow().clone()
    }

    /// Resolves once there is a fatal error.
    pub async fn wait(&self) -> FatalError {
        let mut fatal = self.0.subscribe();
        loop {
            if let Some(fatal_error) = fatal.borrow_and_update().clone() {
                return fatal_error;
            }
            // Never an error: `self` holds a sender.
            drop(fatal.changed().await);
        }
    }
}
