//! The services on a listener: builds them, serves them, and takes them off again when the serving state says so. Knows
//! nothing of how the sources are made.

use std::sync::Arc;
use std::task;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::service::Routes;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::HealthReporter;
use tonic_reflection::server::Builder;
use tower::layer::Layer as _;
use tower::util::MapResponseLayer;

use super::limits::{Caller, Quota, Scans};
use super::principal::{Principal, principal_layer};
use super::read::{Context, RetainedViews, Sources};
use super::rpc::health;
use super::rpc::{AdminRpc, BoundedHealth, ConnectionsRpc, EventsRpc, ExportsRpc};
use super::serving_state::ServingState;
use super::transport::middleware;
use super::transport::{self, Bounds, Deadline, MethodBounds, Routed};
use super::watch::connections::ChangeFeeds;
use super::watch::events::EventFeeds;
use crate::event::{Clock, Timestamp};
use crate::metrics::Gauge;
use crate::proto;
use crate::proto::admin_service_server::{self, AdminServiceServer};
use crate::proto::connection_service_server::ConnectionServiceServer;
use crate::proto::event_service_server::EventServiceServer;
use crate::proto::export_service_server::ExportServiceServer;

/// Limit on the bytes of requests that arrive and answers that are not taken yet, in all and of one caller. Two callers
/// never hold all.
const INFLIGHT_BYTES: usize = 64 * 1024 * 1024;
const INFLIGHT_BYTES_SHARE: usize = 28 * 1024 * 1024;
/// Limit on the bytes that watches have read from disk and not sent yet.
const CATCH_UP_BYTES: usize = 16 * 1024 * 1024;
const CATCH_UP_BYTES_SHARE: usize = 6 * 1024 * 1024;

/// Size of the largest message of all: one of an import.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Maximum size of other requests. The largest filter fits.
const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// Prefix of the reflection services, in all their versions.
const REFLECTION: &str = "grpc.reflection.";
/// Maximum age of a reflection stream. A client asks all that it needs within seconds.
const REFLECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// Maximum age of an import: time for some ten million payloads.
const IMPORT_AGE_MAX: Duration = Duration::from_secs(3600);

pub struct ApiOptions {
    /// Principal of every caller.
    pub principal: Principal,
    /// Maximum number of watches open at the same time.
    pub watches_max: usize,
    /// Maximum number of open watches of one caller.
    pub watches_share: usize,
    /// Number of open watches.
    pub watches_gauge: Gauge,
    /// Maximum age of a watch. Its client then opens it again.
    pub watch_max_age: Duration,
    pub started_at: Timestamp,
    /// Clock for relative times in filters, and for the expiry of export links.
    pub clock: Clock,
}

pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the descriptors of the API cannot be read")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The API, not yet listening.
pub struct Api {
    context: Arc<Context>,
    change_feeds: Arc<ChangeFeeds>,
    event_feeds: Arc<EventFeeds>,
    principal: Principal,
    bounds: Arc<Bounds>,
}

impl Api {
    pub fn new(sources: Sources, options: ApiOptions) -> Self {
        let change_feeds = Arc::new(ChangeFeeds::of_views(&sources.views.borrow()));
        let event_feeds = Arc::new(EventFeeds::of_log(&sources.reader));
        let inflight = Quota::new(INFLIGHT_BYTES, INFLIGHT_BYTES_SHARE);
        let bounds = Bounds::new(options.watches_max, options.watches_share, inflight.clone(), method_bounds);
        let context = Context {
            sources,
            snapshots: RetainedViews::default(),
            scans: Arc::new(Scans::new(inflight.clone())),
            inflight,
            catch_up: Quota::new(CATCH_UP_BYTES, CATCH_UP_BYTES_SHARE),
            watches: Quota::new(options.watches_max, options.watches_share),
            watches_gauge: options.watches_gauge,
            watch_max_age: options.watch_max_age,
            started_at: options.started_at,
            clock: options.clock,
        };
        Self { context: Arc::new(context), change_feeds, event_feeds, principal: options.principal, bounds }
    }

    /// Serves until the state is `ShuttingDown`, and then until every connection has ended.
    ///
    /// Watches end automatically then, but a peer that says nothing, or reads nothing, may hold its connection open:
    /// bound the wait. Dropping this future is safe and breaks no promise: it stops accepting, and aborts the
    /// connections that are still open.
    pub async fn serve(self, listener: Listener) -> Result<(), ServeError> {
        let reporter = HealthReporter::new();
        let health = HealthServer::new(BoundedHealth::new(self.context.clone(), &reporter));
        let routes = self.routes()?.add_service(health.max_decoding_message_size(MESSAGE_BYTES_MAX));
        let bounds = self.bounds.clone();
        let service = as_one_service(routes, self.principal);
        let shutdown = wait_for_shutdown(self.context.sources.state.clone());
        let serving = async {
            match listener {
                Listener::Tcp(listener) => {
                    let accept = move |context: &mut task::Context<'_>| {
                        let accepted = listener.poll_accept(context);
                        accepted.map_ok(|(stream, peer)| (disable_delay(stream), Caller::at(peer.ip())))
                    };
                    transport::serve(accept, bounds, service, shutdown).await;
                }
                Listener::Unix(listener) => {
                    let accept = move |context: &mut task::Context<'_>| {
                        let accepted = listener.poll_accept(context);
                        accepted.map(|accepted| {
                            let (stream, _) = accepted?;
                            let user = stream.peer_cred()?.uid();
                            Ok((stream, Caller::User(user)))
                        })
                    };
                    transport::serve(accept, bounds, service, shutdown).await;
                }
            }
        };
        tokio::select! {
            () = serving => Ok(()),
            never = self.context.snapshots.sweep() => match never {},
            never = self.change_feeds.follow(self.context.sources.views.clone()) => match never {},
            never = self.event_feeds.follow(&self.context.sources.reader) => match never {},
            never = health::follow(reporter, self.context.sources.state.clone()) => match never {},
        }
    }

    fn routes(&self) -> Result<Routes, ServeError> {
        let context = || self.context.clone();
        let connections = ConnectionsRpc { context: context(), feeds: self.change_feeds.clone() };
        let events = EventsRpc { context: context(), feeds: self.event_feeds.clone() };
        let mut routes = Routes::builder();
        routes
            .add_service(ConnectionServiceServer::new(connections).max_decoding_message_size(MESSAGE_BYTES_MAX))
            .add_service(ExportServiceServer::new(ExportsRpc(context())).max_decoding_message_size(MESSAGE_BYTES_MAX))
            .add_service(EventServiceServer::new(events).max_decoding_message_size(MESSAGE_BYTES_MAX))
            .add_service(AdminServiceServer::new(AdminRpc(context())).max_decoding_message_size(MESSAGE_BYTES_MAX))
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
        Ok(routes.routes())
    }
}

/// Makes one service of the routes: gives every request the principal, enforces its deadline, and gives every error a
/// reason.
fn as_one_service(routes: Routes, principal: Principal) -> impl Routed {
    let routes = Deadline(MapResponseLayer::new(middleware::explain_error).layer(routes.prepare()));
    let boxed = MapResponseLayer::new(|response: Response<_>| response.map(Body::new));
    boxed.layer(principal_layer(principal).layer(routes))
}

/// Sends every write at once, however small (`TCP_NODELAY`).
fn disable_delay(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection is already gone");
    }
    stream
}

/// Configures the reflection services. With the descriptors of error details, clients can print these.
fn reflection() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// Resolves when the daemon shuts down, or is gone.
async fn wait_for_shutdown(mut state: watch::Receiver<ServingState>) {
    if state.wait_for(|state| *state == ServingState::ShuttingDown).await.is_err() {
        tracing::debug!("the sender of the serving state has gone; shutting down");
    }
}

/// Returns the bounds of a method by its path, `/service/Method`.
fn method_bounds(path: &str) -> MethodBounds {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let is_administrative = service == admin_service_server::SERVICE_NAME;
    let is_import = is_administrative && method == "ImportEvents";
    let is_reflection = service.starts_with(REFLECTION);
    MethodBounds {
        // Not imports: they take as much memory as they may, unlike the other methods of their service. Not watches of
        // the health: they would keep their place.
        is_reserved: is_administrative && !is_import || service == health_server::SERVICE_NAME && method == "Check",
        is_client_stream: is_import || is_reflection,
        age_max: if is_import { Some(IMPORT_AGE_MAX) } else { is_reflection.then_some(REFLECTION_AGE_MAX) },
        message_bytes: if is_import { MESSAGE_BYTES_MAX } else { REQUEST_BYTES_MAX },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserve_serves_status_and_checks_not_imports_and_watches() {
        let reserved = |path| method_bounds(path).is_reserved;
        assert!(reserved("/cleat.v1.AdminService/GetStatus") && reserved("/grpc.health.v1.Health/Check"));
        assert!(!reserved("/grpc.health.v1.Health/Watch") && !reserved("/grpc.reflection.v1.ServerReflection/Check"));
        assert!(!reserved("/cleat.v1.AdminService/ImportEvents") && !reserved("/cleat.v1.EventService/GetHead"));
        assert!(!reserved("") && !reserved("/cleat.v1.AdminServiceX/GetStatus"));
    }
}
