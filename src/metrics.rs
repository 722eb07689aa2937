//! All metrics, as handles. The code that does the work updates its own; `/metrics` prints all.
//!
//! Names and labels are an interface: dashboards and alerts use them. No label is taken from a request, so the
//! configuration bounds the number of series. Knows no other module.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A gauge that counts: positions, bytes, connections.
pub type Gauge = gauge::Gauge<u64, AtomicU64>;

/// A gauge of seconds.
pub type Seconds = gauge::Gauge<f64, AtomicU64>;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    /// Empty for a path that is no endpoint.
    endpoint: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    listener: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// Handles of all metrics. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    webhooks: Family<WebhookLabels, Counter>,
    connections: Family<ListenerLabels, Gauge>,
    http_evicted: Family<ListenerLabels, Counter>,
    http_refused: Family<RefusedLabels, Counter>,
    /// Time from the end of a request's headers to its answer.
    pub webhook_seconds: Histogram,
    pub webhook_inflight_bytes: Gauge,
    pub commits: Counter,
    pub commit_seconds: Histogram,
    /// Number of events in one commit.
    pub batch_events: Histogram,
    pub log_head_position: Gauge,
    pub views_position: Gauge,
    /// Position that the views cannot pass; 0 while they can go on.
    pub views_stalled_position: Gauge,
    /// Lag of the views, by the times at which events were recorded.
    pub views_lag: Seconds,
    pub watches: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("cleat");
        build_info(&mut registry);
        let mut register = Register(&mut registry);
        let webhooks = register.webhooks();
        let connections = register.connections();
        let http_evicted = register.http_evicted();
        let http_refused = register.http_refused();
        let Histograms { webhook_seconds, commit_seconds, batch_events } = register.histograms();
        Self {
            webhooks,
            connections,
            http_evicted,
            http_refused,
            webhook_seconds,
            webhook_inflight_bytes: register.gauge(
                "webhook_inflight_bytes",
                "Memory reserved for requests that are not in the log yet: for their bodies, and 4 KiB each",
            ),
            commits: register.commits(),
            commit_seconds,
            batch_events,
            log_head_position: register.gauge("log_head_position", "The last durable position"),
            views_position: register.gauge("views_position", "The position that queries are answered from"),
            views_stalled_position: register
                .gauge("views_stalled_position", "The position that the views cannot pass; 0 while they can go on"),
            views_lag: register.views_lag(),
            watches: register.gauge("watches", "Open watches"),
            registry: Arc::new(registry),
        }
    }

    /// Counter of the deliveries to an endpoint with this outcome. `endpoint` is a configured name, or empty.
    pub fn webhooks(&self, endpoint: &str, outcome: &'static str) -> Counter {
        let labels = WebhookLabels { endpoint: endpoint.to_owned(), outcome };
        self.webhooks.get_or_create(&labels).clone()
    }

    /// Gauge of a listener's open connections.
    pub fn connections(&self, listener: &'static str) -> Gauge {
        self.connections.get_or_create(&ListenerLabels { listener }).clone()
    }

    /// Counter of a listener's connections that were closed to give their seats to others.
    pub fn http_evicted(&self, listener: &'static str) -> Counter {
        self.http_evicted.get_or_create(&ListenerLabels { listener }).clone()
    }

    /// Counter of a listener's connections that brought no request.
    pub fn http_refused(&self, listener: &'static str, reason: &'static str) -> Counter {
        self.http_refused.get_or_create(&RefusedLabels { listener, reason }).clone()
    }

    /// All metrics, in the text format that [`CONTENT_TYPE`] names.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

struct Histograms {
    webhook_seconds: Histogram,
    commit_seconds: Histogram,
    batch_events: Histogram,
}

/// Registers metrics, with names and help texts in one place.
struct Register<'a>(&'a mut Registry);

impl Register<'_> {
    fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.0.register(name, help, gauge.clone());
        gauge
    }

    fn views_lag(&mut self) -> Seconds {
        let lag = Seconds::default();
        let help = "How much later the event at the head was recorded than the last one that queries are answered from";
        self.0.register_with_unit("views_lag", help, Unit::Seconds, lag.clone());
        lag
    }

    fn webhooks(&mut self) -> Family<WebhookLabels, Counter> {
        let family = Family::default();
        self.0.register("webhooks", "Requests at the webhook door, by how they ended", family.clone());
        family
    }

    fn connections(&mut self) -> Family<ListenerLabels, Gauge> {
        let family = Family::default();
        self.0.register("http_connections", "Open HTTP connections", family.clone());
        family
    }

    fn http_evicted(&mut self) -> Family<ListenerLabels, Counter> {
        let family = Family::default();
        self.0.register("http_evicted", "Connections closed to free their seats", family.clone());
        family
    }

    fn http_refused(&mut self) -> Family<RefusedLabels, Counter> {
        let family = Family::default();
        self.0.register("http_refused", "Connections closed before they brought the head of a request", family.clone());
        family
    }

    fn commits(&mut self) -> Counter {
        let commits = Counter::default();
        self.0.register("commits", "Commits of the log that reached stable storage", commits.clone());
        commits
    }

    fn histograms(&mut self) -> Histograms {
        let webhook_seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let commit_seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let batch_events = Histogram::new(exponential_buckets(1.0, 2.0, 12));
        let mut seconds = |name, help, histogram: &Histogram| {
            self.0.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        seconds("webhook_duration", "From the end of a request's headers to its answer", &webhook_seconds);
        seconds("commit_duration", "From the first byte given to the store to stable storage", &commit_seconds);
        self.0.register("batch_events", "Events of one commit", batch_events.clone());
        Histograms { webhook_seconds, commit_seconds, batch_events }
    }
}

/// Registers the version as an ordinary gauge that is always 1: not every parser knows the info type.
fn build_info(registry: &mut Registry) {
    let family = Family::<BuildLabels, Gauge>::default();
    family.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
    registry.register("build_info", "Which cleat this is", family);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_printed_under_its_documented_name() {
        let metrics = Metrics::new();
        metrics.webhooks("fasten", "accepted").inc();
        metrics.connections("webhooks").set(2);
        metrics.http_evicted("webhooks").inc();
        metrics.http_refused("webhooks", "malformed").inc();
        metrics.log_head_position.set(u64::MAX);
        metrics.commits.inc();
        let text = metrics.encode().unwrap();
        for line in [
            "cleat_webhooks_total{endpoint=\"fasten\",outcome=\"accepted\"} 1",
            "cleat_http_connections{listener=\"webhooks\"} 2",
            "cleat_http_evicted_total{listener=\"webhooks\"} 1",
            "cleat_http_refused_total{listener=\"webhooks\",reason=\"malformed\"} 1",
            "cleat_log_head_position 18446744073709551615",
            "cleat_views_position 0",
            "cleat_views_stalled_position 0",
            "cleat_views_lag_seconds 0.0",
            "cleat_watches 0",
            "cleat_commits_total 1",
            "cleat_webhook_inflight_bytes 0",
            "cleat_webhook_duration_seconds_count 0",
            "cleat_commit_duration_seconds_count 0",
            "cleat_batch_events_count 0",
            concat!("cleat_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "# EOF",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line}\n{text}");
        }
    }

    #[test]
    fn clones_count_together() {
        let metrics = Metrics::new();
        metrics.clone().webhooks("", "unknown_endpoint").inc();
        assert_eq!(metrics.webhooks("", "unknown_endpoint").get(), 1);
    }
}
