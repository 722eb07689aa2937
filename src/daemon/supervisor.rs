//! Watches over the threads of the log and the fold, says what they allow the daemon to do, and joins them at the end.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::RunError;
use crate::fold::Projection;
use crate::log::Health;
use crate::serve::ServingState;

pub(super) struct Supervisor {
    health: watch::Receiver<Health>,
    /// The writer's end, then the projector's.
    threads: JoinHandle<()>,
    states: JoinHandle<()>,
}

impl Supervisor {
    pub fn start(
        state: watch::Sender<ServingState>,
        health: watch::Receiver<Health>,
        projection: Projection,
        writer: thread::JoinHandle<()>,
    ) -> Self {
        let Projection { mut views, thread: projector } = projection;
        let failed = health.clone();
        let damaged = state.clone();
        let states = tokio::spawn(async move {
            let ServingState::CatchingUp { of } = *state.borrow() else { return };
            // An error means that the projector has ended; what that means is said where it is joined.
            if views.wait_for(|views| views.position() >= of).await.is_ok() {
                become_unless_worse(&state, ServingState::Serving);
                tracing::info!(position = of, "serving");
            }
            if let Some(reason) = failure(failed).await {
                tracing::error!(%reason, "a commit failed: nothing is acknowledged any more");
                become_unless_worse(&state, ServingState::ReadOnly { reason });
            }
        });
        let threads = tokio::task::spawn_blocking(move || {
            let projected = projector.join();
            let reason = match projected {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the fold panicked".to_owned()),
            };
            if let Some(reason) = reason {
                tracing::error!(%reason, "the views can tell nothing newer");
                damaged.send_replace(ServingState::Damaged { reason: reason.into() });
            }
            if writer.join().is_err() {
                tracing::error!("the writer panicked");
            }
        });
        Self { health, threads, states }
    }

    /// Until told to stop, or until the storage has failed and reads went on for as long as they may.
    pub async fn until(&self, stop: impl Future<Output = ()>, reads_go_on: Duration) -> Result<(), RunError> {
        let failed = async {
            let reason = failure(self.health.clone()).await.unwrap_or_else(|| "the writer has gone".into());
            tokio::time::sleep(reads_go_on).await;
            reason
        };
        tokio::select! {
            () = stop => Ok(()),
            reason = failed => Err(RunError::Storage(reason)),
        }
    }

    /// Until both threads have ended, which they do once the last appender is gone.
    pub async fn joined(self) {
        if self.threads.await.is_err() {
            tracing::error!("the supervisor's thread panicked");
        }
        self.states.abort();
    }
}

/// Why the log has failed, once it has; None if its threads are gone.
async fn failure(mut health: watch::Receiver<Health>) -> Option<Arc<str>> {
    match health.wait_for(|health| *health != Health::Writable).await.as_deref() {
        Ok(Health::Failed(reason)) => Some(reason.clone()),
        Ok(Health::Writable) | Err(_) => None,
    }
}

/// Damage and the shutdown stay.
fn become_unless_worse(state: &watch::Sender<ServingState>, next: ServingState) {
    state.send_if_modified(|state| {
        let better =
            matches!(state, ServingState::CatchingUp { .. } | ServingState::Serving | ServingState::ReadOnly { .. });
        if better {
            *state = next;
        }
        better
    });
}
