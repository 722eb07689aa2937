//! What failed for good while the daemon goes on reading for a while: said once, heard by whoever asks.

use std::sync::Arc;

use tokio::sync::watch;

/// A commit of the log failed, for this reason. Nothing was acknowledged since; a restart recovers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log takes nothing any more: {0}")]
pub struct Trouble(pub Arc<str>);

/// The trouble there is, if any. The first stays.
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

    /// Until there is some.
    pub async fn wait(&self) -> Trouble {
        let mut told = self.0.subscribe();
        loop {
            if let Some(trouble) = told.borrow_and_update().clone() {
                return trouble;
            }
            // Never an error: we hold a sender ourselves.
            drop(told.changed().await);
        }
    }
}
