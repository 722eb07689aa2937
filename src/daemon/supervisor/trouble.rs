//! The permanent failure after which the daemon only serves reads for a while: reported once, visible to all readers.

use std::sync::Arc;

use tokio::sync::watch;

/// A failed commit of the log, with its reason. Nothing has been acknowledged since. A restart recovers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log takes nothing any more: {0}")]
pub struct Trouble(pub Arc<str>);

/// Shared slot for the first trouble, if any. Ignores later ones.
#[derive(Clone, Default)]
pub struct Told(watch::Sender<Option<Trouble>>);

impl Told {
    pub fn tell(&self, trouble: Trouble) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                tracing::error!("{trouble}");
                *first = Some(trouble);
            }
            is_first
        });
    }

    pub fn now(&self) -> Option<Trouble> {
        self.0.borrow().clone()
    }

    /// Resolves once there is trouble.
    pub async fn wait(&self) -> Trouble {
        let mut told = self.0.subscribe();
        loop {
            if let Some(trouble) = told.borrow_and_update().clone() {
                return trouble;
            }
            // Never an error: `self` holds a sender.
            drop(told.changed().await);
        }
    }
}
