//! The account of one request: one count, one duration, one log line, however it ends.

use hyper::StatusCode;
use tokio::time::Instant;

use super::outcome::{ABANDONED, Accepted, Refusal};
use crate::event::ModeVerdict;
use crate::http::Reply;
use crate::metrics::Metrics;

/// A request that has begun. Dropped without an end, it was abandoned by its client.
pub(super) struct Visit<'a> {
    metrics: &'a Metrics,
    /// A configured name, or empty: never the path that was asked for.
    endpoint: &'a str,
    started: Instant,
    body_bytes: usize,
    ended: Option<(&'static str, StatusCode)>,
}

impl<'a> Visit<'a> {
    pub(super) fn begin(metrics: &'a Metrics, endpoint: &'a str, started: Instant) -> Self {
        Self { metrics, endpoint, started, body_bytes: 0, ended: None }
    }

    pub(super) fn body(&mut self, bytes: usize) {
        self.body_bytes = bytes;
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    pub(super) fn end(mut self, answer: Result<Accepted, Refusal>) -> Reply {
        self.warn(&answer);
        let (label, reply) = match answer {
            Ok(accepted) => (accepted.label(), accepted.reply()),
            Err(refusal) => (refusal.label(), refusal.reply()),
        };
        self.ended = Some((label, reply.status()));
        reply
    }

    /// What an operator must know of, although the sender was answered.
    fn warn(&self, answer: &Result<Accepted, Refusal>) {
        let endpoint = self.endpoint;
        match answer {
            Err(Refusal::StaleTimestamp) => {
                tracing::warn!(endpoint, "refused a rightly signed webhook for its timestamp: our clock may be wrong");
            }
            Err(Refusal::DevelopmentSecretForwarded) => {
                tracing::warn!(endpoint, "refused a forwarded webhook that only the development secret matched");
            }
            Ok(Accepted { mode: ModeVerdict::Unknown, .. }) => {
                tracing::warn!(endpoint, "kept an event whose api_mode is not known; it changes nothing");
            }
            Ok(Accepted { mode: ModeVerdict::Mismatched, .. }) => {
                tracing::warn!(endpoint, "kept an event of the other api_mode than the endpoint's; it changes nothing");
            }
            Ok(Accepted { conflict: true, .. }) => {
                tracing::warn!(
                    endpoint,
                    "a duplicate tells something else than the first of its key: it is kept and changes nothing"
                );
            }
            Err(refusal) if refusal.status() == StatusCode::SERVICE_UNAVAILABLE => {
                tracing::warn!(endpoint, outcome = refusal.label(), "could not take a webhook");
            }
            _ => {}
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let (outcome, status) = self.ended.map_or((ABANDONED, None), |(label, status)| (label, Some(status.as_u16())));
        self.metrics.webhooks(self.endpoint, outcome).inc();
        self.metrics.webhook_seconds.observe(self.started.elapsed().as_secs_f64());
        tracing::debug!(endpoint = self.endpoint, outcome, status, bytes = self.body_bytes, "webhook");
    }
}
