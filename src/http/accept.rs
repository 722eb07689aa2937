//! The next connection of a listener, once there is a seat for it. Knows neither the kind of socket nor what is spoken on it.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long to leave new connections waiting when the process can open no more files.
const PAUSE: Duration = Duration::from_millis(200);

/// The next connection with its seat, which is free again when it is dropped. Safe to cancel.
pub async fn accept<S>(
    seats: &Arc<Semaphore>,
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
) -> (S, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a seat in the end.
    let seat = seats.clone().acquire_owned().await.ok();
    loop {
        match poll_fn(&mut poll_accept).await {
            Ok(stream) => return (stream, seat),
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Its client went away while it waited; the next accept may succeed at once.
fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Accepts after these errors. How long that took.
    async fn accepted_after(errors: Vec<io::Error>) -> Duration {
        let mut errors = errors.into_iter();
        let started = Instant::now();
        accept(&Arc::new(Semaphore::new(1)), |_| Poll::Ready(errors.next().map_or(Ok(()), Err))).await;
        assert!(errors.next().is_none(), "it accepted before all errors were met");
        started.elapsed()
    }

    #[tokio::test]
    async fn errors_of_the_process_are_followed_by_a_pause() {
        let no_more_files = || io::Error::from_raw_os_error(24);
        assert!(accepted_after(vec![no_more_files(), no_more_files()]).await >= 2 * PAUSE);
    }

    #[tokio::test]
    async fn a_client_that_went_away_delays_nobody() {
        let gone = || io::Error::from(io::ErrorKind::ConnectionAborted);
        let many = std::iter::repeat_with(gone).take(1000).collect();
        // With pauses it would take more than three minutes.
        tokio::time::timeout(Duration::from_secs(30), accepted_after(many)).await.expect("no pauses");
    }
}
