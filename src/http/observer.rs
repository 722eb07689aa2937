//! Reports on the connections of a listener: how many are open, evicted, and closed before they brought a request.
//! Knows neither sockets nor content.

use std::sync::Arc;

use crate::metrics::{Counter, Gauge, Metrics};

/// Why the HTTP engine closed a connection without a complete head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not HTTP/1: garbage, a TLS hello, a head that breaks the rules.
    Malformed,
    HeadersTooLarge,
    HeaderTimeout,
    /// The peer left in the middle of a head.
    EndedEarly,
    /// The peer sent no byte in time.
    Silent,
}

impl Refused {
    const ALL: [Self; 5] =
        [Self::Malformed, Self::HeadersTooLarge, Self::HeaderTimeout, Self::EndedEarly, Self::Silent];

    /// The label in metrics and lists.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::HeadersTooLarge => "headers_too_large",
            Self::HeaderTimeout => "header_timeout",
            Self::EndedEarly => "ended_early",
            Self::Silent => "silent",
        }
    }
}

/// Counts the connections of one listener. Cheap to clone.
#[derive(Clone)]
pub struct Observer {
    open: Gauge,
    evicted: Counter,
    metrics: Metrics,
    listener: &'static str,
    on_refused: Arc<dyn Fn(Refused) + Send + Sync>,
}

impl Observer {
    /// Creates an observer. `listener` is the label in metrics. `on_refused` is called for each connection that brought
    /// no request.
    pub fn new(
        metrics: &Metrics,
        listener: &'static str,
        on_refused: impl Fn(Refused) + Send + Sync + 'static,
    ) -> Self {
        for refused in Refused::ALL {
            // Starts at zero, so that the first of each shows as a rise.
            drop(metrics.http_refused(listener, refused.label()));
        }
        Self {
            open: metrics.connections(listener),
            evicted: metrics.http_evicted(listener),
            metrics: metrics.clone(),
            listener,
            on_refused: Arc::new(on_refused),
        }
    }

    pub(super) fn count_opened(&self) {
        self.open.inc();
    }

    pub(super) fn count_closed(&self) {
        self.open.dec();
    }

    pub(super) fn count_evicted(&self) {
        self.evicted.inc();
    }

    pub(super) fn count_refused(&self, refused: Refused) {
        self.metrics.http_refused(self.listener, refused.label()).inc();
        (self.on_refused)(refused);
    }
}
