//! `grpc.health.v1`, for the daemon and for each service, derived from the serving state. Knows nothing else of the
//! services.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use async_stream::try_stream;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

use crate::proto::{admin_service_server, connection_service_server, event_service_server, export_service_server};
use crate::serve::limits::Caller;
use crate::serve::read::{Context, WatchSlot};
use crate::serve::refusal::Refusal;
use crate::serve::serving_state::ServingState;

const DAEMON: &str = "";
/// Service that is healthy in every state until the shutdown.
const ADMIN: &str = admin_service_server::SERVICE_NAME;
/// Services that need the state or the log.
const READING: [&str; 3] =
    [connection_service_server::SERVICE_NAME, export_service_server::SERVICE_NAME, event_service_server::SERVICE_NAME];

/// tonic's service. Its watches count among all watches and end at their maximum age.
pub struct BoundedHealth {
    context: Arc<Context>,
    statuses: HealthService,
}

impl BoundedHealth {
    pub fn new(context: Arc<Context>, reporter: &HealthReporter) -> Self {
        Self { context, statuses: HealthService::from_health_reporter(reporter.clone()) }
    }
}

#[tonic::async_trait]
impl Health for BoundedHealth {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.statuses.check(request).await
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let slot = self.context.take_watch_slot(Caller::of(&request)?)?;
        let mut statuses = self.statuses.watch(request).await?.into_inner();
        let bounded = try_stream! {
            // Dropped with the stream, which ends the count of this watch.
            let slot: WatchSlot = slot;
            while let Some(status) = tokio::select! {
                status = statuses.next() => status,
                () = sleep_until(slot.expires) => Some(Err(Refusal::WatchMaxAge.into())),
            } {
                yield status?;
            }
        };
        Ok(Response::new(Box::pin(bounded)))
    }
}

/// Keeps the reporter in step with the serving state. Never returns.
pub async fn follow(mut reporter: HealthReporter, mut state: watch::Receiver<ServingState>) -> Infallible {
    loop {
        let now = state.borrow_and_update().clone();
        apply(&reporter, &now).await;
        if now == ServingState::ShuttingDown || state.changed().await.is_err() {
            break;
        }
    }
    // Ends the watches of the health, too: a shutdown waits for every stream.
    for service in READING.into_iter().chain([ADMIN, DAEMON]) {
        reporter.clear_service_status(service).await;
    }
    std::future::pending().await
}

/// Reports the state. Reads go on after a failed commit, but the daemon as a whole is not healthy.
async fn apply(reporter: &HealthReporter, state: &ServingState) {
    let status = |healthy| if healthy { ServingStatus::Serving } else { ServingStatus::NotServing };
    reporter.set_service_status(DAEMON, status(*state == ServingState::Serving)).await;
    for service in READING {
        reporter.set_service_status(service, status(state.answers())).await;
    }
    reporter.set_service_status(ADMIN, status(*state != ServingState::ShuttingDown)).await;
}
