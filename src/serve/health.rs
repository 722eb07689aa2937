//! `grpc.health.v1`, for the daemon and for each service, as the serving state has it.

use std::convert::Infallible;

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::state::ServingState;
use crate::proto::{admin_service_server, connection_service_server, event_service_server, export_service_server};

const DAEMON: &str = "";
/// It answers in every state.
const ADMIN: &str = admin_service_server::SERVICE_NAME;
/// These need the state, or the log.
const READING: [&str; 3] =
    [connection_service_server::SERVICE_NAME, export_service_server::SERVICE_NAME, event_service_server::SERVICE_NAME];

/// Keeps the reporter up with the state, for ever.
pub(super) async fn follow(mut reporter: HealthReporter, mut state: watch::Receiver<ServingState>) -> Infallible {
    loop {
        let now = state.borrow_and_update().clone();
        apply(&reporter, &now).await;
        if now == ServingState::ShuttingDown || state.changed().await.is_err() {
            break;
        }
    }
    // Watches of the health end too: tonic's shutdown waits for every stream.
    for service in READING.into_iter().chain([ADMIN, DAEMON]) {
        reporter.clear_service_status(service).await;
    }
    std::future::pending().await
}

/// Reads go on after a failed commit, but the daemon as a whole is not well.
async fn apply(reporter: &HealthReporter, state: &ServingState) {
    let status = |healthy| if healthy { ServingStatus::Serving } else { ServingStatus::NotServing };
    reporter.set_service_status(DAEMON, status(*state == ServingState::Serving)).await;
    for service in READING {
        reporter.set_service_status(service, status(state.answers())).await;
    }
    reporter.set_service_status(ADMIN, status(*state != ServingState::ShuttingDown)).await;
}
