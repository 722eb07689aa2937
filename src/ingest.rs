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
use crate::event::{ApiMode, Body, Clock, Delivery, EventKey, ModeVerdict, Nonces, Provenance};
use crate::http::{self, Drain, ListenerLimits, Observer, Reply, RequestBody};
use crate::log::{AppendError, Appended, Appender, ClockReading, DatedEvidence, NotAccepting, TimeEvidence};
use crate::metrics::Metrics;
use crate::rejections::{Rejected, Rejections};
use crate::token::Token;

use budget::{InflightBudget, InflightReservation};
use outcome::{Accepted, WebhookRefusal};
use request::SignedHeaders;
use request_log::{RequestLog, WarningLimits};
use unabandoned::Unabandoned;
use verify::{Keyring, Parts as VerifiedParts, Tolerance, Verified};

pub use local_tool::LOCAL_TOOL_MARK;
pub use stale::StaleSignal;

/// The door, ready to serve. Holds an appender until [`Door::serve`] ends.
pub struct Door {
    endpoints: HashMap<String, DoorEndpoint>,
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
    limits: ListenerLimits,
}

/// One endpoint, with its keys prepared.
struct DoorEndpoint {
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
        let prepared = |endpoint: &Endpoint| (endpoint.name.clone(), DoorEndpoint::new(endpoint, for_development));
        let budget = InflightBudget::new(config.inflight_bytes.as_u64(), &metrics.webhook_inflight_bytes);
        Self {
            endpoints: config.endpoints.iter().map(prepared).collect(),
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
            limits: ListenerLimits { connections: config.max_connections, header_timeout: config.header_timeout },
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
        for endpoint in self.endpoints.values() {
            outcome::labels().for_each(|label| drop(self.metrics.webhooks(&endpoint.name, label)));
        }
        let clock = self.clock.clone();
        let rejections = self.rejections.clone();
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
        let endpoint = request::endpoint(&parts.uri).and_then(|name| self.endpoints.get(name));
        let name = endpoint.map_or("", |endpoint| endpoint.name.as_str());
        let mut request_log = RequestLog::begin(&self.metrics, &self.warnings, name, started);
        let answer = match endpoint {
            Some(endpoint) => self.answer(endpoint, &parts, peer, &mut body, deadline, &mut request_log).await,
            None => Err(WebhookRefusal::UnknownEndpoint),
        };
        if let Err(refusal) = &answer {
            self.rejections.push(Rejected {
                at: (self.clock)(),
                endpoint: endpoint.map(|endpoint| (endpoint.name.clone(), endpoint.tenant.clone())),
                reason: refusal.label(),
                body_bytes: request_log.body_bytes(),
            });
            // After a slow body, nothing more is on its way.
            if *refusal != WebhookRefusal::BodySlow {
                body::discard(&mut body, deadline).await;
            }
        }
        request_log.end(answer)
    }

    async fn answer(
        &self,
        endpoint: &DoorEndpoint,
        parts: &Parts,
        peer: SocketAddr,
        body: &mut RequestBody,
        deadline: Instant,
        request_log: &mut RequestLog<'_>,
    ) -> Result<Accepted, WebhookRefusal> {
        if parts.method != Method::POST {
            return Err(WebhookRefusal::MethodNotAllowed);
        }
        let headers = SignedHeaders::read(parts, peer)?;
        let body = timeout_at(deadline, body::read(body, &self.budget, self.body_limit)).await;
        let body = body.unwrap_or(Err(WebhookRefusal::BodySlow))?;
        request_log.set_body_bytes(body.bytes.len());
        let verified_at = self.appender.read_clock();
        let now = (self.clock)();
        let webhook_id = headers.id.clone();
        let seconds = headers.seconds;
        let verified = endpoint.keyring.verify(headers, body, now, self.tolerance);
        match &verified {
            Ok(verified) if verified.evidence() == TimeEvidence::Signed => self.stale.observe_fresh(now),
            Err(WebhookRefusal::StaleTimestamp) => self.stale.observe_stale(webhook_id, seconds, now),
            Ok(_) | Err(_) => {}
        }
        let arrival = Arrival::new(endpoint, verified?, verified_at, (self.nonces)());
        arrival.append(&self.appender, deadline).await
    }
}

impl DoorEndpoint {
    /// Prepares an endpoint. `for_development` if no endpoint has a secret other than the development one.
    fn new(endpoint: &Endpoint, for_development: bool) -> Self {
        Self {
            name: endpoint.name.clone(),
            tenant: endpoint.tenant.clone(),
            api_mode: endpoint.api_mode,
            keyring: Keyring::new(&endpoint.secrets, for_development),
        }
    }
}

/// A verified webhook on its way to the log.
struct Arrival {
    delivery: Delivery,
    evidence: DatedEvidence,
    reservation: InflightReservation,
}

impl Arrival {
    /// Parses the body, the only time. Keeps an unreadable one, too: sending it again would repair nothing.
    /// `verified_at` is the reading of the log's clock when the webhook was verified.
    fn new(endpoint: &DoorEndpoint, verified: Verified, verified_at: ClockReading, nonce: [u8; 16]) -> Self {
        let VerifiedParts {
            webhook_id,
            webhook_timestamp,
            webhook_signature,
            secret_label,
            evidence,
            body,
            reservation,
        } = verified.into_parts();
        let body = Body::received(body);
        let envelope = &body.parsed().envelope;
        let mode = ModeVerdict::judge(envelope.api_mode.as_deref(), endpoint.api_mode);
        // An event that applies to no mode claims no key: once the configuration is corrected, it may come again and be
        // applied.
        let key = mode.applies_to().map(|_| EventKey::of(envelope.id.as_deref(), &webhook_id));
        let delivery = Delivery {
            tenant: endpoint.tenant.clone(),
            endpoint: endpoint.name.clone(),
            provenance: Provenance::Webhook,
            mode,
            key,
            webhook_id,
            webhook_timestamp,
            webhook_signature,
            secret_label,
            nonce,
            body,
        };
        Self { delivery, evidence: verified_at.with(evidence), reservation }
    }

    /// Appends the event. Waits until it is durable, or until the deadline for the sender's answer.
    async fn append(self, appender: &Appender, deadline: Instant) -> Result<Accepted, WebhookRefusal> {
        let Self { delivery, evidence, reservation } = self;
        let log = appender.clone();
        let mode = delivery.mode;
        // Outlives a client that hangs up or is answered 503: the log still holds the reserved bytes. The log answers
        // every append, so this ends.
        let append = Unabandoned::new(async move {
            let ended = log.append_dated(delivery, evidence).await;
            drop(reservation);
            ended
        });
        let Ok(ended) = timeout_at(deadline, append).await else {
            return Err(WebhookRefusal::StorageSlow);
        };
        let Appended { position, outcome, reached } = ended.map_err(|error| refusal(&error))?;
        let token = Token::read(appender.identity(), reached.cursor()).encode();
        Ok(Accepted { position, outcome, token, mode })
    }
}

fn refusal(error: &AppendError) -> WebhookRefusal {
    match error {
        // With an appender alive, only a panic of its writer closes the log: a stop waits for the door.
        AppendError::Failed(_) | AppendError::Unconfirmed(_) | AppendError::Closed => WebhookRefusal::StorageFailed,
        AppendError::Clock(_) => WebhookRefusal::ClockRefused,
        AppendError::NotAccepting(NotAccepting::DiskFull) => WebhookRefusal::DiskFull,
        AppendError::NotAccepting(NotAccepting::KeysUnknown) => WebhookRefusal::KeysUnknown,
        AppendError::NotAccepting(_) => WebhookRefusal::StorageSlow,
        AppendError::TooLarge { .. } | AppendError::Unstorable(_) => WebhookRefusal::BodyTooLarge,
    }
}
