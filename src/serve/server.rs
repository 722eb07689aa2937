//! Puts the services on a listener, and takes them off again when the serving state says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, watch};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_reflection::server::Builder;
use tower::layer::layer_fn;
use tower::util::MapResponseLayer;

use super::admin::Admin;
use super::connections::Connections;
use super::context::Context;
use super::deadline::Deadline;
use super::engine;
use super::events::Events;
use super::exports::Exports;
use super::health;
use super::incoming::incoming;
use super::principal::{Principal, everyone_is};
use super::snapshots::Snapshots;
use super::state::ServingState;
use super::watch::{ChangeFeeds, EventFeeds};
use crate::backfill::Backfill;
use crate::event::{Clock, Timestamp};
use crate::fold::{Rebuild, Views};
use crate::log::Reader;
use crate::metrics::Gauge;
use crate::proto;
use crate::proto::admin_service_server::AdminServiceServer;
use crate::proto::connection_service_server::ConnectionServiceServer;
use crate::proto::event_service_server::EventServiceServer;
use crate::proto::export_service_server::ExportServiceServer;
use crate::rejections::Rejections;

/// A peer that vanished is noticed within half a minute, even by a watch that has nothing to say.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Of one connection, watches among them.
const STREAMS_MAX: u32 = 256;
/// The largest filter fits several times.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Where answers come from.
pub struct Sources {
    pub views: watch::Receiver<Arc<Views>>,
    pub reader: Reader,
    pub rebuild: Rebuild,
    pub rejections: Rejections,
    pub backfill: Backfill,
    pub state: watch::Receiver<ServingState>,
}

pub struct Options {
    /// Who every caller is.
    pub principal: Principal,
    /// Open at the same time.
    pub watches_max: usize,
    /// Told how many are.
    pub watches_gauge: Gauge,
    /// Each ends then, at the latest, and is begun anew.
    pub watch_max_age: Duration,
    pub started_at: Timestamp,
    /// What a filter's "so long ago" counts from.
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
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// The API, not yet listening.
pub struct Api {
    context: Arc<Context>,
    change_feeds: Arc<ChangeFeeds>,
    event_feeds: Arc<EventFeeds>,
    principal: Principal,
}

impl Api {
    pub fn new(sources: Sources, options: Options) -> Self {
        let change_feeds = Arc::new(ChangeFeeds::of_views(&sources.views.borrow()));
        let event_feeds = Arc::new(EventFeeds::of_log(&sources.reader));
        let context = Context {
            views: sources.views,
            reader: sources.reader,
            rebuild: sources.rebuild,
            rejections: sources.rejections,
            backfill: sources.backfill,
            state: sources.state,
            snapshots: Snapshots::default(),
            watches: Arc::new(Semaphore::new(options.watches_max)),
            watches_max: options.watches_max,
            watches_gauge: options.watches_gauge,
            watch_max_age: options.watch_max_age,
            started_at: options.started_at,
            clock: options.clock,
        };
        Self { context: Arc::new(context), change_feeds, event_feeds, principal: options.principal }
    }

    /// Serves until the state is `ShuttingDown`, and then until every connection has ended.
    ///
    /// Watches end by themselves then, but a peer that says nothing, or reads nothing, holds its connection open for as
    /// long as it likes: bound the wait. Dropping this future is safe: nothing is promised that it would take back; it
    /// stops accepting, and what is still open ends with the runtime.
    pub async fn serve(self, listener: Listener) -> Result<(), ServeError> {
        let (reporter, health) = tonic_health::server::health_reporter();
        let routes = self.routes()?.add_service(health.max_decoding_message_size(REQUEST_BYTES_MAX));
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_concurrent_streams(Some(STREAMS_MAX))
            .layer(everyone_is(self.principal))
            .layer(layer_fn(Deadline))
            .layer(MapResponseLayer::new(engine::explained))
            .add_routes(routes);
        let drained = drained(self.context.state.clone());
        let serving = async {
            match listener {
                Listener::Tcp(listener) => {
                    let incoming =
                        incoming(move |context| listener.poll_accept(context).map_ok(|(stream, _)| at_once(stream)));
                    server.serve_with_incoming_shutdown(incoming, drained).await
                }
                Listener::Unix(listener) => {
                    let incoming = incoming(move |context| listener.poll_accept(context).map_ok(|(stream, _)| stream));
                    server.serve_with_incoming_shutdown(incoming, drained).await
                }
            }
        };
        tokio::select! {
            ended = serving => Ok(ended?),
            never = self.context.snapshots.sweep() => match never {},
            never = self.change_feeds.follow(self.context.views.clone()) => match never {},
            never = self.event_feeds.follow(&self.context.reader) => match never {},
            never = health::follow(reporter, self.context.state.clone()) => match never {},
        }
    }

    fn routes(&self) -> Result<Routes, ServeError> {
        let context = || self.context.clone();
        let connections = Connections { context: context(), feeds: self.change_feeds.clone() };
        let events = Events { context: context(), feeds: self.event_feeds.clone() };
        let mut routes = Routes::builder();
        routes
            .add_service(ConnectionServiceServer::new(connections).max_decoding_message_size(REQUEST_BYTES_MAX))
            .add_service(ExportServiceServer::new(Exports(context())).max_decoding_message_size(REQUEST_BYTES_MAX))
            .add_service(EventServiceServer::new(events).max_decoding_message_size(REQUEST_BYTES_MAX))
            .add_service(AdminServiceServer::new(Admin(context())).max_decoding_message_size(REQUEST_BYTES_MAX))
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
        Ok(routes.routes())
    }
}

/// What is written goes out, however little it is.
fn at_once(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection is already gone");
    }
    stream
}

/// With the descriptors of error details, clients can print these.
fn reflection() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// Until the daemon shuts down, or is gone.
async fn drained(mut state: watch::Receiver<ServingState>) {
    if state.wait_for(|state| *state == ServingState::ShuttingDown).await.is_err() {
        tracing::debug!("nobody is left who could say that it shuts down");
    }
}
