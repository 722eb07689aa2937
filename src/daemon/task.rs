//! One named task of the daemon: reports an early end, and is awaited at a stop. Knows nothing of the task's work.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::error::RunError;

/// Minimum time for each stage of a stop, even if earlier stages used up the grace period: closing the log is quick,
/// but not instant.
const STAGE_MIN: Duration = Duration::from_secs(2);

pub(super) struct SupervisedTask<T> {
    name: &'static str,
    task: JoinHandle<T>,
    /// Closes when the task ends, however it ends.
    alive: oneshot::Receiver<()>,
}

impl<T: Send + 'static> SupervisedTask<T> {
    pub fn spawn(name: &'static str, work: impl Future<Output = T> + Send + 'static) -> Self {
        let (lives, alive) = oneshot::channel();
        let task = tokio::spawn(async move {
            let _lives: oneshot::Sender<()> = lives;
            work.await
        });
        Self { name, task, alive }
    }

    /// Resolves if the task exits before shutdown was requested. Call it once.
    pub async fn wait_for_early_end(&mut self) -> RunError {
        // Nothing is ever sent: this waits until the sender is dropped.
        drop((&mut self.alive).await);
        RunError::Ended(self.name)
    }

    /// Waits for the end of the task until the deadline, but at least [`STAGE_MIN`]. Then aborts it and returns `None`.
    pub async fn finish(mut self, deadline: Instant) -> Result<Option<T>, RunError> {
        let Ok(joined) = timeout_at(deadline.max(Instant::now() + STAGE_MIN), &mut self.task).await else {
            tracing::warn!("{} did not end in time; aborting it", self.name);
            self.task.abort();
            return Ok(None);
        };
        joined.map(Some).map_err(|_| RunError::Panicked(self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn within<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), future).await.expect("it ends")
    }

    #[tokio::test]
    async fn an_early_end_is_noticed_and_its_result_is_kept() {
        let mut part = SupervisedTask::spawn("the part", async { 7 });
        assert_eq!(within(part.wait_for_early_end()).await.to_string(), "the part ended unexpectedly");
        assert_eq!(within(part.finish(Instant::now())).await.unwrap(), Some(7));
    }

    #[tokio::test]
    async fn a_panic_is_reported_without_its_message() {
        let mut part = SupervisedTask::spawn("the part", async { assert_eq!("secret", "", "panics") });
        within(part.wait_for_early_end()).await;
        assert_eq!(within(part.finish(Instant::now())).await.unwrap_err().to_string(), "the part panicked");
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_cut() {
        let (held, dropped) = oneshot::channel::<()>();
        let part = SupervisedTask::spawn("the part", async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        assert_eq!(within(part.finish(Instant::now())).await.unwrap(), None);
        assert!(within(dropped).await.is_err());
    }
}
