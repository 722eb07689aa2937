//! The order in which the daemon ends, and how long each part may take. What fails on the way is not forgotten.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::RunError;
use super::part::Part;
use super::supervisor::Supervisor;
use crate::serve::{ServeError, ServingState};

/// How long gRPC connections may take to close once every stream has ended: a peer that never says anything would hold
/// the server for ever.
const GRPC_LINGER: Duration = Duration::from_secs(3);

/// What runs, on its way down.
pub(super) struct Stopping {
    pub door: Part<()>,
    pub supervisor: Supervisor,
    pub state: watch::Sender<ServingState>,
    pub grpc: Part<Result<(), ServeError>>,
}

impl Stopping {
    /// In the order of the flow, so that whoever waits still gets an answer, and a watch its last changes.
    pub async fn finish(self, deadline: Instant) -> Result<(), RunError> {
        // The door's end drops the last appender, and that is what closes the log.
        let door = self.door.finish(deadline).await;
        let name = "the log and the views";
        let log = Part::spawn(name, self.supervisor.joined()).finish(deadline).await;
        self.state.send_replace(ServingState::ShuttingDown);
        let grpc = self.grpc.finish(deadline.min(Instant::now() + GRPC_LINGER)).await;
        // Connections that were cut are their peers' doing. A log that was cut may have failed unheard.
        log?.unwrap_or(Err(RunError::Cut(name)))?;
        door?;
        grpc?.unwrap_or(Ok(()))?;
        Ok(())
    }
}
