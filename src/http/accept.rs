//! Accepts the next connection of a listener. Knows neither the kind of socket nor the protocol on it.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::LineLimiter;

/// Pause before the next accept when the process cannot open more files. New connections wait.
const PAUSE: Duration = Duration::from_millis(200);

/// Limits the warning, because strangers can use up the process's files. One limit for all listeners.
static CANNOT_ACCEPT: LineLimiter = LineLimiter::new();

/// Returns the next connection. Safe to cancel.
pub async fn next<S>(mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>) -> S {
    loop {
        match poll_fn(&mut poll_accept).await {
            Ok(stream) => return stream,
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                if let Some(suppressed) = CANNOT_ACCEPT.pass(Instant::now()) {
                    tracing::warn!(%error, suppressed, "cannot accept a connection");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether the client went away while it waited. The next accept may succeed at once.
fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts after these errors. Returns the time that it took.
    async fn accepted_after(errors: Vec<io::Error>) -> Duration {
        let mut errors = errors.into_iter();
        let started = Instant::now();
        next(|_| Poll::Ready(errors.next().map_or(Ok(()), Err))).await;
        assert!(errors.next().is_none(), "it accepted before all errors were met");
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn errors_of_the_process_are_followed_by_a_pause() {
        let no_more_files = || io::Error::from_raw_os_error(24);
        assert!((2 * PAUSE..3 * PAUSE).contains(&accepted_after(vec![no_more_files(), no_more_files()]).await));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_went_away_delays_no_other() {
        let gone = || io::Error::from(io::ErrorKind::ConnectionAborted);
        let many = std::iter::repeat_with(gone).take(1000).collect();
        assert_eq!(accepted_after(many).await, Duration::ZERO);
    }
}
