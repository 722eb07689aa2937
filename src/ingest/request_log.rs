//! The account of one request: one count, one duration and one log line, however it ends. Knows nothing of headers and
//! bodies.

use hyper::StatusCode;
use tokio::time::Instant;

use super::outcome::{ABANDONED, Accepted, WebhookRefusal};
use crate::event::ModeVerdict;
use crate::http::Reply;
use crate::log::AppendOutcome;
use crate::metrics::Metrics;
use crate::telemetry::LineLimiter;

/// One limit for each cause of a warning: a stranger or a faulty sender could fill the disk with log lines.
#[derive(Default)]
pub(super) struct WarningLimits {
    stale: LineLimiter,
    development_secret: LineLimiter,
    mismatched: LineLimiter,
    unknown_mode: LineLimiter,
    conflict: LineLimiter,
    overloaded: LineLimiter,
    storage: LineLimiter,
    clock: LineLimiter,
}

/// A request in progress. Dropped without an end, it was abandoned by its client.
pub(super) struct RequestLog<'a> {
    metrics: &'a Metrics,
    warnings: &'a WarningLimits,
    /// A configured name, or empty: never the requested path.
    endpoint: &'a str,
    started: Instant,
    body_bytes: usize,
    ended: Option<(&'static str, StatusCode)>,
}

impl<'a> RequestLog<'a> {
    pub(super) fn begin(
        metrics: &'a Metrics,
        warnings: &'a WarningLimits,
        endpoint: &'a str,
        started: Instant,
    ) -> Self {
        Self { metrics, warnings, endpoint, started, body_bytes: 0, ended: None }
    }

    pub(super) fn set_body_bytes(&mut self, bytes: usize) {
        self.body_bytes = bytes;
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    pub(super) fn end(mut self, answer: Result<Accepted, WebhookRefusal>) -> Reply {
        self.warn(&answer);
        let (label, reply) = match answer {
            Ok(accepted) => (accepted.label(), accepted.reply()),
            Err(refusal) => (refusal.label(), refusal.reply()),
        };
        self.ended = Some((label, reply.status()));
        reply
    }

    /// Logs the outcomes that an operator must know, although the sender was answered. At most one line a minute for
    /// each cause.
    fn warn(&self, answer: &Result<Accepted, WebhookRefusal>) {
        let endpoint = self.endpoint;
        let warnings = self.warnings;
        let (limit, outcome, message) = match answer {
            Err(refusal @ WebhookRefusal::StaleTimestamp) => (
                &warnings.stale,
                refusal.label(),
                "refused a correctly signed webhook for its timestamp: a replay, or this machine's clock is wrong",
            ),
            Err(refusal @ WebhookRefusal::DevelopmentSecretRefused) => (
                &warnings.development_secret,
                refusal.label(),
                "refused a webhook that only the development secret matched: it is not from this machine's tools",
            ),
            Ok(accepted @ Accepted { mode: ModeVerdict::Unknown, .. }) => (
                &warnings.unknown_mode,
                accepted.label(),
                "kept an event whose api_mode is not known; it changes nothing",
            ),
            Ok(accepted @ Accepted { mode: ModeVerdict::Mismatched, .. }) => (
                &warnings.mismatched,
                accepted.label(),
                "kept an event whose api_mode is not its endpoint's; it changes nothing",
            ),
            Ok(accepted @ Accepted { outcome: AppendOutcome::Conflict, .. }) => (
                &warnings.conflict,
                accepted.label(),
                "kept a duplicate whose content differs from the first event of its key; it changes nothing",
            ),
            Err(refusal @ WebhookRefusal::Overloaded) => {
                (&warnings.overloaded, refusal.label(), "cannot accept a webhook")
            }
            Err(
                refusal @ (WebhookRefusal::StorageSlow
                | WebhookRefusal::KeysUnknown
                | WebhookRefusal::StorageFailed
                | WebhookRefusal::DiskFull),
            ) => (&warnings.storage, refusal.label(), "cannot accept a webhook"),
            Err(refusal @ WebhookRefusal::ClockRefused) => (
                &warnings.clock,
                refusal.label(),
                "cannot accept a webhook: this machine's clock is behind the newest event of the log, or nothing \
                 confirms it for a webhook that cleat's own tools signed",
            ),
            _ => return,
        };
        if let Some(suppressed) = limit.pass(Instant::now()) {
            tracing::warn!(endpoint, outcome, suppressed, "{message}");
        }
    }
}

impl Drop for RequestLog<'_> {
    fn drop(&mut self) {
        let (outcome, status) = self.ended.map_or((ABANDONED, None), |(label, status)| (label, Some(status.as_u16())));
        self.metrics.webhooks(self.endpoint, outcome).inc();
        self.metrics.webhook_seconds.observe(self.started.elapsed().as_secs_f64());
        tracing::debug!(endpoint = self.endpoint, outcome, status, bytes = self.body_bytes, "webhook");
    }
}
