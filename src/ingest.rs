//! The webhook door: `POST /webhooks/{endpoint}`, verified, appended, answered. 2xx means durable.
//!
//! ```text
//!   route ─ method ─ headers ─ size ─ body ─ signature ─ timestamp ─▶ Verified ─▶ Delivery ─▶ Appender
//!                                     └ charged, itself and its bytes as they arrive, until the append has ended
//! ```
//!
//! Knows the log by its [`Appender`] only, and of a body only its envelope. What it logs and counts names the endpoint
//! and how the request ended: never an id, a header or a body.

mod body;
mod deliver;
mod outcome;
mod request;
mod stale;
mod verify;
mod visit;

use std::collections::HashMap;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};

use crate::config::{Endpoint, Webhooks};
use crate::event::{ApiMode, Clock, Nonces};
use crate::http::{self, Drain, Limits, Reply};
use crate::log::Appender;
use crate::metrics::Metrics;
use crate::rejections::{Rejected, Rejections};

use body::Room;
use outcome::{Accepted, Refusal};
use request::SignedHeaders;
use verify::{Keyring, Tolerance};
use visit::Visit;

pub use stale::StaleSignal;

/// The door, ready to serve. Holds an appender until [`Door::serve`] ends.
pub struct Door {
    gates: HashMap<String, Gate>,
    appender: Appender,
    clock: Clock,
    nonces: Nonces,
    metrics: Metrics,
    stale: StaleSignal,
    rejections: Rejections,
    room: Arc<Room>,
    body_limit: usize,
    tolerance: Tolerance,
    request_timeout: std::time::Duration,
    limits: Limits,
}

/// One endpoint, with its keys made ready.
struct Gate {
    name: String,
    tenant: String,
    api_mode: Option<ApiMode>,
    keyring: Keyring,
}

impl Door {
    /// `clock` judges timestamps; `nonces` must be unguessable.
    pub fn new(config: &Webhooks, appender: Appender, clock: Clock, nonces: Nonces, metrics: Metrics) -> Self {
        let room = Room::new(config.inflight_bytes.as_u64(), metrics.webhook_inflight_bytes.clone());
        Self {
            gates: config.endpoints.iter().map(|endpoint| (endpoint.name.clone(), Gate::new(endpoint))).collect(),
            appender,
            clock,
            nonces,
            metrics,
            stale: StaleSignal::default(),
            rejections: Rejections::default(),
            room: Arc::new(room),
            body_limit: usize::try_from(config.body_limit.as_u64()).unwrap_or(usize::MAX),
            tolerance: Tolerance::new(config.timestamp_tolerance),
            request_timeout: config.request_timeout,
            limits: Limits { connections: config.max_connections, header_timeout: config.header_timeout },
        }
    }

    /// Tells `stale` when rightly signed webhooks are refused because of the clock, and `rejections` of all that is refused.
    #[must_use]
    pub fn telling(self, stale: StaleSignal, rejections: Rejections) -> Self {
        Self { stale, rejections, ..self }
    }

    /// Until `drain`; see [`http::serve`].
    pub async fn serve(self, listener: TcpListener, drain: Drain) {
        for gate in self.gates.values() {
            outcome::labels().for_each(|label| drop(self.metrics.webhooks(&gate.name, label)));
        }
        let (limits, open) = (self.limits, self.metrics.connections("webhooks"));
        let door = Arc::new(self);
        let handler = move |request| {
            let door = door.clone();
            async move { door.handle(request).await }
        };
        http::serve(listener, limits, open, drain, handler).await;
    }

    async fn handle(&self, request: Request<Incoming>) -> Reply {
        let started = Instant::now();
        let deadline = started + self.request_timeout;
        let (parts, mut body) = request.into_parts();
        let gate = request::endpoint(&parts.uri).and_then(|name| self.gates.get(name));
        let mut visit = Visit::begin(&self.metrics, gate.map_or("", |gate| gate.name.as_str()), started);
        let answer = match gate {
            Some(gate) => self.answer(gate, &parts, &mut body, deadline, &mut visit).await,
            None => Err(Refusal::UnknownEndpoint),
        };
        if let Err(refusal) = &answer {
            self.rejections.push(Rejected {
                at: (self.clock)(),
                endpoint: gate.map(|gate| (gate.name.clone(), gate.tenant.clone())),
                reason: refusal.label(),
                body_bytes: visit.body_bytes(),
            });
            body::discard(&mut body, deadline).await;
        }
        visit.end(answer)
    }

    async fn answer(
        &self,
        gate: &Gate,
        parts: &Parts,
        body: &mut Incoming,
        deadline: Instant,
        visit: &mut Visit<'_>,
    ) -> Result<Accepted, Refusal> {
        if parts.method != Method::POST {
            return Err(Refusal::MethodNotAllowed);
        }
        let headers = SignedHeaders::read(&parts.headers)?;
        let body = timeout_at(deadline, body::read(body, &self.room, self.body_limit)).await;
        let body = body.unwrap_or(Err(Refusal::BodySlow))?;
        visit.body(body.bytes.len());
        let now = (self.clock)();
        let verified = gate.keyring.verify(headers, body, now, self.tolerance);
        self.stale.observe(&verified, now);
        let (delivery, charge) = deliver::delivery(gate, verified?, (self.nonces)());
        deliver::append(&self.appender, delivery, charge, deadline).await
    }
}

impl Gate {
    fn new(endpoint: &Endpoint) -> Self {
        Self {
            name: endpoint.name.clone(),
            tenant: endpoint.tenant.clone(),
            api_mode: endpoint.api_mode,
            keyring: Keyring::new(&endpoint.secrets),
        }
    }
}
