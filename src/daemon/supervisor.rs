//! Watches over the threads of the log and the fold, says what they allow the daemon to do, and joins them at the end.

#[cfg(test)]
mod tests;
mod trouble;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::RunError;
use crate::fold::{Projection, ProjectionError, Views};
use crate::log::{Health, ReadError};
use crate::serve::ServingState;
pub use trouble::{Told, Trouble};

pub(super) struct Supervisor {
    health: watch::Receiver<Health>,
    told: Told,
    /// The projector's end, then the writer's.
    threads: JoinHandle<Result<(), RunError>>,
    states: JoinHandle<()>,
}

impl Supervisor {
    pub fn start(
        state: watch::Sender<ServingState>,
        told: Told,
        health: watch::Receiver<Health>,
        projection: Projection,
        writer: thread::JoinHandle<()>,
    ) -> Self {
        let Projection { views, thread: projector } = projection;
        let states = tokio::spawn({
            let (state, told, health) = (state.clone(), told.clone(), health.clone());
            async move {
                tokio::join!(serving(state, views, told.clone()), failing(health, told));
            }
        });
        let threads = tokio::task::spawn_blocking({
            let told = told.clone();
            move || {
                projected(&projector.join(), &state, &told);
                writer.join().map_err(|_| RunError::Panicked("the log's writer"))
            }
        });
        Self { health, told, threads, states }
    }

    /// Until told to stop, or until something has failed for good and reads went on for as long as they may.
    pub async fn until(&self, stop: impl Future<Output = ()>, reads_go_on: Duration) -> Result<(), RunError> {
        let failed = async {
            let trouble = self.told.wait().await;
            tokio::time::sleep(reads_go_on).await;
            trouble
        };
        tokio::select! {
            () = stop => Ok(()),
            trouble = failed => Err(trouble.into()),
        }
    }

    /// Until both threads have ended, which they do once the last appender is gone. An error if anything failed up to now.
    pub async fn joined(self) -> Result<(), RunError> {
        let ended = self.threads.await.unwrap_or(Err(RunError::Panicked("the supervisor")));
        self.states.abort();
        if let Health::Failed(reason) = &*self.health.borrow() {
            return Err(Trouble::Storage(reason.clone()).into());
        }
        self.told.now().map_or(ended, |trouble| Err(trouble.into()))
    }
}

/// From catching up to what it can do then. While the views are behind, a failure does not make them fit to be read.
async fn serving(state: watch::Sender<ServingState>, mut views: watch::Receiver<Arc<Views>>, told: Told) {
    let ServingState::CatchingUp { of } = *state.borrow() else { return };
    // An error means that the projector has ended; what that means is said where it is joined.
    if views.wait_for(|views| views.position() >= of).await.is_err() {
        return;
    }
    become_unless_worse(&state, ServingState::Serving);
    tracing::info!(position = of, "serving");
    let reason = told.wait().await.to_string().into();
    become_unless_worse(&state, ServingState::ReadOnly { reason });
}

/// Tells when a commit has failed. If the threads end well, never.
async fn failing(mut health: watch::Receiver<Health>, told: Told) {
    let failed = health.wait_for(|health| *health != Health::Writable).await;
    if let Ok(Health::Failed(reason)) = failed.as_deref() {
        told.tell(Trouble::Storage(reason.clone()));
    }
}

/// Only damage of the log is told as damage: a restart may mend all else.
fn projected(ended: &thread::Result<Result<(), ProjectionError>>, state: &watch::Sender<ServingState>, told: &Told) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(damage @ (ProjectionError::Log(ReadError::Damaged { .. }) | ProjectionError::LogIsShort { .. }))) => {
            let reason: Arc<str> = damage.to_string().into();
            tracing::error!(%reason, "the views can tell nothing newer");
            become_unless_worse(state, ServingState::Damaged { reason });
        }
        Ok(Err(error @ (ProjectionError::Log(ReadError::Store(_)) | ProjectionError::Views(_)))) => {
            told.tell(Trouble::Fold(error.to_string().into()));
        }
        Err(_) => told.tell(Trouble::Fold("the fold panicked".into())),
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
