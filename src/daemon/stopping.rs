//! The order in which the parts of the daemon stop, and the time for each. A failure on the way is reported at the end.
//! Knows nothing of the work of the parts.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::RunError;
use super::supervisor::Supervisor;
use super::task::SupervisedTask;
use crate::serve::{ServeError, ServingState};

/// Time for gRPC connections to close once every stream has ended: a peer that never answers would hold the server
/// indefinitely.
const GRPC_LINGER: Duration = Duration::from_secs(3);

/// The running parts of a daemon that stops.
pub(super) struct Stopping {
    pub door: SupervisedTask<()>,
    pub supervisor: Supervisor,
    pub state: watch::Sender<ServingState>,
    pub grpc: SupervisedTask<Result<(), ServeError>>,
}

impl Stopping {
    /// Stops the parts in the order of the data flow: waiting requests still get an answer, and watches their last
    /// changes.
    pub async fn finish(self, deadline: Instant) -> Result<(), RunError> {
        // The door's end drops the last appender, which closes the log.
        let door = self.door.finish(deadline).await;
        let name = "the log and the views";
        let log = SupervisedTask::spawn(name, self.supervisor.joined()).finish(deadline).await;
        self.state.send_replace(ServingState::ShuttingDown);
        let grpc = self.grpc.finish(deadline.min(Instant::now() + GRPC_LINGER)).await;
        // Cut connections are the fault of their peers. A log that was cut may have failed without a report.
        log?.unwrap_or(Err(RunError::Cut(name)))?;
        door?;
        grpc?.unwrap_or(Ok(()))?;
        Ok(())
    }
}
