//! Supervises the threads of the log and the fold, derives the serving state from them, and joins them at the end. Only
//! a failed commit of the log ends the daemon. Webhooks are still taken, whatever happens to the views.

#[cfg(test)]
mod tests;

use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::RunError;
use super::fatal::{FatalCell, FatalError};
use crate::fold::{Projection, ProjectionPhase};
use crate::log::Health;
use crate::metrics::Gauge;
use crate::serve::ServingState;

pub(super) struct Supervisor {
    health: watch::Receiver<Health>,
    fatal: FatalCell,
    /// Resolves when the projector, and then the writer, has ended.
    threads: JoinHandle<Result<(), RunError>>,
    states: JoinHandle<()>,
}

impl Supervisor {
    /// Starts the supervision. `stalled` is set to the position that the views cannot pass, and to 0 while there is
    /// none.
    pub fn start(
        state: watch::Sender<ServingState>,
        fatal: FatalCell,
        health: watch::Receiver<Health>,
        projection: Projection,
        writer: thread::JoinHandle<()>,
        stalled: Gauge,
    ) -> Self {
        let Projection { phase, thread: projector, .. } = projection;
        let states = tokio::spawn({
            let fatal = fatal.clone();
            let health = health.clone();
            async move {
                tokio::join!(publish_states(state, phase, fatal.clone(), stalled), report_failure(health, fatal));
            }
        });
        let threads = tokio::task::spawn_blocking(move || {
            if projector.join().is_err() {
                tracing::error!("the projector panicked: the views do not advance until a restart");
            }
            writer.join().map_err(|_| RunError::Panicked("the log's writer"))
        });
        Self { health, fatal, threads, states }
    }

    /// Resolves at `stop`, or `reads_go_on` after a permanent failure.
    pub async fn wait_until(&self, stop: impl Future<Output = ()>, reads_go_on: Duration) -> Result<(), RunError> {
        let failed = async {
            let fatal_error = self.fatal.wait().await;
            tokio::time::sleep(reads_go_on).await;
            fatal_error
        };
        tokio::select! {
            () = stop => Ok(()),
            fatal_error = failed => Err(fatal_error.into()),
        }
    }

    /// Resolves when both threads have ended, as they do once the last appender is dropped. An error if anything has
    /// failed until then.
    pub async fn join(self) -> Result<(), RunError> {
        let ended = self.threads.await.unwrap_or(Err(RunError::Panicked("the supervisor")));
        self.states.abort();
        if let Health::Failed(reason) = &*self.health.borrow() {
            return Err(FatalError(reason.clone()).into());
        }
        self.fatal.get().map_or(ended, |fatal_error| Err(fatal_error.into()))
    }
}

/// Derives the serving state from the phases of the views and a failed commit, until the projector ends. Views that are
/// behind or stalled stay unreadable after a failed commit.
async fn publish_states(
    state: watch::Sender<ServingState>,
    mut phase: watch::Receiver<ProjectionPhase>,
    fatal: FatalCell,
    stalled: Gauge,
) {
    let mut failed = None;
    loop {
        let current = phase.borrow_and_update().clone();
        stalled.set(if let ProjectionPhase::Stalled { position, .. } = &current { *position } else { 0 });
        become_unless_final(&state, state_of(current, failed.as_ref()));
        tokio::select! {
            fatal_error = fatal.wait(), if failed.is_none() => failed = Some(fatal_error),
            changed = phase.changed() => {
                // The projector has ended, as it does at a stop. The last phase stays.
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

fn state_of(phase: ProjectionPhase, failed: Option<&FatalError>) -> ServingState {
    match (phase, failed) {
        (ProjectionPhase::CatchingUp { through }, _) => ServingState::CatchingUp { of: through },
        (ProjectionPhase::Following, None) => ServingState::Serving,
        (ProjectionPhase::Following, Some(fatal_error)) => {
            ServingState::ReadOnly { reason: fatal_error.to_string().into() }
        }
        (ProjectionPhase::Stalled { reason, is_log_damage: true, .. }, _) => ServingState::Damaged { reason },
        (ProjectionPhase::Stalled { position, reason, .. }, _) => ServingState::Stalled { position, reason },
    }
}

/// Reports a failed commit. Reports nothing if the threads end without one.
async fn report_failure(mut health: watch::Receiver<Health>, fatal: FatalCell) {
    let failed = health.wait_for(|health| matches!(health, Health::Failed(_))).await;
    if let Ok(Health::Failed(reason)) = failed.as_deref() {
        fatal.set(FatalError(reason.clone()));
    }
}

/// Sets the serving state. `ShuttingDown` is final.
fn become_unless_final(state: &watch::Sender<ServingState>, next: ServingState) {
    state.send_if_modified(|state| {
        let changes = *state != ServingState::ShuttingDown && *state != next;
        if changes {
            match &next {
                ServingState::Serving => tracing::info!("serving"),
                other => tracing::info!(state = ?other, "the serving state changes"),
            }
            *state = next;
        }
        changes
    });
}
