//! The reasons why the daemon is not ready, in words for an operator. Knows nothing of how they are served.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::fatal::FatalCell;
use crate::event::Position;
use crate::http::Drain;
use crate::ingest::StaleSignal;
use crate::log::{Health, Reader, TimeSource};
use crate::operations::Readiness;
use crate::serve::ServingState;

fn stalled(position: Position, reason: &str) -> String {
    format!("the views cannot go past position {position}, and it is tried again: {reason}")
}

/// The parts of the open log that readiness depends on.
pub(super) struct OpenLog {
    pub reader: Reader,
    pub health: watch::Receiver<Health>,
}

/// The sources of the reasons.
pub(super) struct ReadinessSources {
    pub state: watch::Receiver<ServingState>,
    pub fatal: FatalCell,
    pub drain: Drain,
    /// Set once the log is open.
    pub log: Arc<OnceLock<OpenLog>>,
}

impl ReadinessSources {
    pub fn reasons(self, stale: StaleSignal, time: TimeSource) -> Readiness {
        Arc::new(move || {
            let state = match &*self.state.borrow() {
                // `ReadOnly` is reported as the fatal error, below.
                ServingState::Serving | ServingState::ReadOnly { .. } => None,
                ServingState::CatchingUp { of } => Some(format!("the views are catching up with position {of}")),
                ServingState::Stalled { position, reason } => Some(stalled(*position, reason)),
                ServingState::Damaged { reason } => Some(reason.to_string()),
                ServingState::ShuttingDown => Some("shutting down".to_owned()),
            };
            let fatal_error = self.fatal.get().map(|fatal_error| fatal_error.to_string());
            let draining = (*self.drain.borrow() && state.is_none()).then(|| "shutting down".to_owned());
            let now = (time.now)();
            let behind = self.log.get().and_then(|log| time.check_not_behind(now, log.reader.head().recorded_at).err());
            let refusing = self.log.get().and_then(|log| match &*log.health.borrow() {
                Health::Refusing(reason) => Some(format!("no webhook is taken for now: {reason}")),
                Health::Writable | Health::Failed(_) => None,
            });
            let waits_for_keys = self.log.get().and_then(|log| log.reader.waits_for_keys());
            let waits_for_keys = waits_for_keys.map(|reason| format!("no webhook is taken for now: {reason}"));
            let clock_is_behind = behind.map(|error| error.to_string());
            let clock_is_wrong = stale.clock_is_doubtful(now).then(|| {
                "rightly signed webhooks were refused for their timestamps: this machine's clock may be wrong"
                    .to_owned()
            });
            fatal_error
                .into_iter()
                .chain(state)
                .chain(draining)
                .chain(refusing)
                .chain(waits_for_keys)
                .chain(clock_is_behind)
                .chain(clock_is_wrong)
                .collect()
        })
    }
}
