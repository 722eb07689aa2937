//! The reasons why the daemon is not ready, in words for an operator. Knows nothing of how they are served.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::fatal::FatalCell;
use crate::event::{Position, Timestamp};
use crate::http::Drain;
use crate::ingest::StaleSignal;
use crate::log::{Health, Reader, TimeSource};
use crate::operations::Readiness;
use crate::serve::ServingState;

const CLOCK_IS_DOUBTFUL: &str =
    "rightly signed webhooks were refused for their timestamps: this machine's clock may be wrong";

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
            let now = (time.now)();
            let mut reasons = Vec::new();
            reasons.extend(self.fatal.get().map(|fatal_error| fatal_error.to_string()));
            match state_reason(&self.state.borrow()) {
                Some(reason) => reasons.push(reason),
                None if *self.drain.borrow() => reasons.push("shutting down".to_owned()),
                None => {}
            }
            if let Some(log) = self.log.get() {
                log.add_reasons(&time, now, &mut reasons);
            }
            if stale.clock_is_doubtful(now) {
                reasons.push(CLOCK_IS_DOUBTFUL.to_owned());
            }
            reasons
        })
    }
}

fn state_reason(state: &ServingState) -> Option<String> {
    match state {
        // `ReadOnly` is reported as the fatal error.
        ServingState::Serving | ServingState::ReadOnly { .. } => None,
        ServingState::CatchingUp { of } => Some(format!("the views are catching up with position {of}")),
        ServingState::Stalled { position, reason } => Some(stalled(*position, reason)),
        ServingState::Damaged { reason } => Some(reason.to_string()),
        ServingState::ShuttingDown => Some("shutting down".to_owned()),
    }
}

impl OpenLog {
    fn add_reasons(&self, time: &TimeSource, now: Timestamp, reasons: &mut Vec<String>) {
        if let Health::Refusing(reason) = &*self.health.borrow() {
            reasons.push(format!("no webhook is taken for now: {reason}"));
        }
        if let Some(reason) = self.reader.waits_for_keys() {
            reasons.push(format!("no webhook is taken for now: {reason}"));
        }
        if let Err(error) = time.check_not_behind(now, self.reader.head().recorded_at) {
            reasons.push(error.to_string());
        }
    }
}
