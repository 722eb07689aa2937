//! The webhook door: `POST /webhooks/{endpoint}`, verified, appended, answered. 2xx means durable.
//!
//! ```text
//!   route ─ method ─ headers ─ size ─ body ─ signature ─ timestamp ─▶ Verified ─▶ Delivery ─▶ Appender
//!                                     └ reserved from the budget before its buffer grows, until the append has ended
//! ```
//!
//! Knows the log only by its [`Appender`], and of a body only the envelope. Its logs and metrics name the endpoint and
//! the outcome of a request, never an id, a header or a body.

mod body;
mod budget;
mod deliver;
mod local_tool;
mod outcome;
mod request;
mod request_log;
mod stale;
mod unabandoned;
mod verify;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::http::request::Parts;
use hyper::{Method, Request};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};

use crate::config::{Endpoint, Secret, Webhooks};
use crate::event::{ApiMode, Clock, Nonces};
use crate::http::{self, Drain, Limits, Observer, Reply, RequestBody};
use crate::log::{Appender, TimeEvidence};
use crate::metrics::Metrics;
use crate::rejections::{Rejected, Rejections};

use budget::InflightBudget;
use outcome::{Accepted, Refusal};
use request::SignedHeaders;
use request_log::{RequestLog, WarningLimits};
use verify::{Keyring, Tolerance};

pub use local_tool::LOCAL_TOOL_MARK;
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
    budget: InflightBudget,
    warnings: WarningLimits,
    body_limit: usize,
    tolerance: Tolerance,
    request_timeout: std::time::Duration,
    limits: Limits,
}

/// One endpoint, with its keys prepared.
struct Gate {
    name: String,
    tenant: String,
    api_mode: Option<ApiMode>,
    keyring: Keyring,
}

impl Door {
    /// Builds the door. `clock` judges timestamps. `nonces` must be unguessable.
    pub fn new(config: &Webhooks, appender: Appender, clock: Clock, nonces: Nonces, metrics: Metrics) -> Self {
        let mut secrets = config.endpoints.iter().flat_map(|endpoint| &endpoint.secrets);
        let for_development = secrets.all(Secret::is_development);
        let gate = |endpoint: &Endpoint| (endpoint.name.clone(), Gate::new(endpoint, for_development));
        let budget = InflightBudget::new(config.inflight_bytes.as_u64(), &metrics.webhook_inflight_bytes);
        Self {
            gates: config.endpoints.iter().map(gate).collect(),
            appender,
            clock,
            nonces,
            metrics,
            stale: StaleSignal::default(),
            rejections: Rejections::default(),
            budget,
            warnings: WarningLimits::default(),
            body_limit: usize::try_from(config.body_limit.as_u64()).unwrap_or(usize::MAX),
            tolerance: Tolerance::new(config.timestamp_tolerance),
            request_timeout: config.request_timeout,
            limits: Limits { connections: config.max_connections, header_timeout: config.header_timeout },
        }
    }

    /// Reports to `stale` which correctly signed webhooks are refused because of the clock, and to `rejections` all
    /// refusals.
    #[must_use]
    pub fn telling(self, stale: StaleSignal, rejections: Rejections) -> Self {
        Self { stale, rejections, ..self }
    }

    /// Serves until `drain`; see [`http::serve`].
    pub async fn serve(self, listener: TcpListener, drain: Drain) {
        for gate in self.gates.values() {
            outcome::labels().for_each(|label| drop(self.metrics.webhooks(&gate.name, label)));
        }
        let (clock, rejections) = (self.clock.clone(), self.rejections.clone());
        let observer = Observer::new(&self.metrics, "webhooks", move |refused| {
            rejections.push(Rejected { at: (clock)(), endpoint: None, reason: refused.label(), body_bytes: 0 });
        });
        let limits = self.limits;
        let door = Arc::new(self);
        let handler = move |request, peer| {
            let door = door.clone();
            async move { door.handle(request, peer).await }
        };
        http::serve(listener, limits, observer, drain, handler).await;
    }

    async fn handle(&self, request: Request<RequestBody>, peer: SocketAddr) -> Reply {
        let started = Instant::now();
        let deadline = started + self.request_timeout;
        let (parts, mut body) = request.into_parts();
        let gate = request::endpoint(&parts.uri).and_then(|name| self.gates.get(name));
        let mut request_log =
            RequestLog::begin(&self.metrics, &self.warnings, gate.map_or("", |gate| gate.name.as_str()), started);
        let answer = match gate {
            Some(gate) => self.answer(gate, &parts, peer, &mut body, deadline, &mut request_log).await,
            None => Err(Refusal::UnknownEndpoint),
        };
        if let Err(refusal) = &answer {
            self.rejections.push(Rejected {
                at: (self.clock)(),
                endpoint: gate.map(|gate| (gate.name.clone(), gate.tenant.clone())),
                reason: refusal.label(),
                body_bytes: request_log.body_bytes(),
            });
            // After a slow body, nothing more is on its way.
            if *refusal != Refusal::BodySlow {
                body::discard(&mut body, deadline).await;
            }
        }
        request_log.end(answer)
    }

    async fn answer(
        &self,
        gate: &Gate,
        parts: &Parts,
        peer: SocketAddr,
        body: &mut RequestBody,
        deadline: Instant,
        request_log: &mut RequestLog<'_>,
    ) -> Result<Accepted, Refusal> {
        if parts.method != Method::POST {
            return Err(Refusal::MethodNotAllowed);
        }
        let headers = SignedHeaders::read(parts, peer)?;
        let body = timeout_at(deadline, body::read(body, &self.budget, self.body_limit)).await;
        let body = body.unwrap_or(Err(Refusal::BodySlow))?;
        request_log.body(body.bytes.len());
        let (verified_at, now) = (self.appender.read_clock(), (self.clock)());
        let (webhook_id, seconds) = (headers.id.clone(), headers.seconds);
        let verified = gate.keyring.verify(headers, body, now, self.tolerance);
        match &verified {
            Ok(verified) if verified.evidence() == TimeEvidence::Signed => self.stale.observe_fresh(now),
            Err(Refusal::StaleTimestamp) => self.stale.observe_stale(webhook_id, seconds, now),
            Ok(_) | Err(_) => {}
        }
        let arrival = deliver::Arrival::new(gate, verified?, verified_at, (self.nonces)());
        arrival.append(&self.appender, deadline).await
    }
}

impl Gate {
    /// Builds a gate. `for_development` if no endpoint has a secret other than the development one.
    fn new(endpoint: &Endpoint, for_development: bool) -> Self {
        Self {
            name: endpoint.name.clone(),
            tenant: endpoint.tenant.clone(),
            api_mode: endpoint.api_mode,
            keyring: Keyring::new(&endpoint.secrets, for_development),
        }
    }
}
