//! The inside of a daemon without its webhook door: log, projection and API on a free port, in a temporary directory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use cleat::backfill::Backfill;
use cleat::config::{Config, Webhooks};
use cleat::event::{Clock, Contents, Cursor, Delivery, Event, EventKey, Identity, ModeVerdict, Nonces, Timestamp};
use cleat::fold::{self, Fold, Projection, Rebuild, Views};
use cleat::log::{Appended, Appender, Log, Reader, TimeEvidence};
use cleat::metrics::Metrics;
use cleat::proto::admin_service_client::AdminServiceClient;
use cleat::proto::connection_service_client::ConnectionServiceClient;
use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::export_service_client::ExportServiceClient;
use cleat::proto::read_consistency::Requirement;
use cleat::proto::{
    Connection, ConnectionFilter, Export, ExportFilter, ListConnectionsRequest, ListExportsRequest, ReadConsistency,
};
use cleat::rejections::Rejections;
use cleat::serve::{Api, ApiOptions, Listener, Principal, ServeError, ServingState, Sources};
use cleat::token::Token;
use serde_json::{Value, json};
use testkit::bodies;
use testkit::delivery::webhook;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Constant time of the API's clock: some time after the end of a test by the log's clock.
pub const NOW: Timestamp = Timestamp::from_micros(1_790_010_000_000_000);

pub struct TestApi {
    pub reader: Reader,
    pub state: watch::Sender<ServingState>,
    pub address: SocketAddr,
    pub serving: JoinHandle<Result<(), ServeError>>,
    pub channel: Channel,
    appender: Appender,
    _directory: tempfile::TempDir,
}

pub struct Setup {
    pub principal: Principal,
    pub watches_max: usize,
    pub watches_share: usize,
    pub ring_len: usize,
    pub watch_max_age: Duration,
    pub webhooks: Webhooks,
}

/// Endpoint of tenant "acme".
const ENDPOINTS: &str = r#"[[webhooks.endpoints]]
    name = "fasten"
    tenant = "acme"
    secrets = ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"]"#;

pub fn webhooks(endpoints: &str) -> Webhooks {
    Config::parse("test", endpoints, &|_| None).unwrap().webhooks
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            principal: Principal::loopback([Arc::from("acme")]),
            watches_max: 20,
            watches_share: 20,
            ring_len: 1000,
            watch_max_age: Duration::from_secs(3600),
            webhooks: webhooks(ENDPOINTS),
        }
    }
}

impl TestApi {
    pub async fn open() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = open_log(directory.path());
        Self::following(directory, log, setup).await
    }

    /// Opens an API over a log whose commits are slow, so that an import fills its queue.
    pub async fn slow() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = cleat::log::LogOptions {
            on_commit: Box::new(|_| std::thread::sleep(Duration::from_millis(2))),
            ..log_options(IDENTITY)
        };
        let log = cleat::log::open(directory.path(), options).unwrap();
        Self::following(directory, log, Setup::default()).await
    }

    /// Opens an API over a new log of this identity.
    pub async fn of(identity: Identity) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = open_log_of(directory.path(), identity);
        Self::following(directory, log, Setup::default()).await
    }

    async fn following(directory: tempfile::TempDir, log: Log, setup: Setup) -> Self {
        let (mut projection, rebuild) = project(directory.path(), &log, setup.ring_len);
        projection.views.wait_for(|views| views.is_readable()).await.unwrap();
        Self::serve(directory, log, projection.views, rebuild, setup).await
    }

    /// Opens an API over an empty log, with views that the test publishes.
    pub async fn over(views: watch::Receiver<Arc<Views>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = open_log(directory.path());
        let (_, rebuild) = project(directory.path(), &log, 1);
        Self::serve(directory, log, views, rebuild, Setup::default()).await
    }

    async fn serve(
        directory: tempfile::TempDir,
        log: Log,
        views: watch::Receiver<Arc<Views>>,
        rebuild: Rebuild,
        setup: Setup,
    ) -> Self {
        let Log { appender, reader, .. } = log;
        let (state, states) = watch::channel(ServingState::Serving);
        let backfill = backfill(&setup.webhooks, &reader, &appender);
        let rejections = Rejections::default();
        let sources = Sources { views, reader: reader.clone(), rebuild, rejections, backfill, state: states };
        let options = ApiOptions {
            watch_max_age: setup.watch_max_age,
            watches_share: setup.watches_share,
            ..options(setup.principal, setup.watches_max)
        };
        let api = Api::new(sources, options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(api.serve(Listener::Tcp(listener)));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { reader, state, address, serving, channel, appender, _directory: directory }
    }

    pub fn connections(&self) -> ConnectionServiceClient<Channel> {
        ConnectionServiceClient::new(self.channel.clone())
    }

    pub fn exports(&self) -> ExportServiceClient<Channel> {
        ExportServiceClient::new(self.channel.clone())
    }

    pub fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel.clone())
    }

    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    /// Appends a live event to tenant "acme".
    pub async fn append(&self, body: &Value) -> Appended {
        self.append_as("acme", ModeVerdict::Live, body).await
    }

    pub async fn append_as(&self, tenant: &str, mode: ModeVerdict, body: &Value) -> Appended {
        let delivery = delivery(tenant, mode, body);
        self.appender.append(delivery, TimeEvidence::Signed).await.unwrap()
    }

    /// Returns the channel of a client that takes little at a time.
    pub async fn narrow_channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
        endpoint.connect().await.unwrap()
    }

    /// Waits until the state has everything that was appended.
    pub async fn applied(&self) {
        let request = ListConnectionsRequest {
            tenant: "acme".into(),
            page_size: 1,
            consistency: Some(fully()),
            ..Default::default()
        };
        self.connections().list_connections(request).await.unwrap();
    }

    /// Returns the read token of an append, as a webhook's answer gives it.
    pub fn token(&self, appended: &Appended) -> String {
        Token::read(self.reader.identity(), Cursor::new(appended.position, &appended.reached.chain)).encode()
    }
}

/// Returns all connections that match, listed in pages of this size.
pub async fn every_connection(api: &TestApi, filter: ConnectionFilter, page_size: i32) -> Vec<Connection> {
    every_page(api, ListConnectionsRequest { filter: Some(filter), page_size, ..Default::default() }).await
}

/// Returns the rows of this page and of all after it.
pub async fn every_page(api: &TestApi, mut request: ListConnectionsRequest) -> Vec<Connection> {
    let mut all = Vec::new();
    request.consistency = Some(fully());
    loop {
        let page = api.connections().list_connections(request.clone()).await.unwrap().into_inner();
        assert!(page.connections.len() <= usize::try_from(request.page_size).unwrap());
        all.extend(page.connections);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

/// Returns all exports that match, listed in pages of this size.
pub async fn every_export(api: &TestApi, filter: ExportFilter, page_size: i32) -> Vec<Export> {
    every_page_of_exports(api, ListExportsRequest { filter: Some(filter), page_size, ..Default::default() }).await
}

/// Returns the rows of this page and of all after it.
pub async fn every_page_of_exports(api: &TestApi, mut request: ListExportsRequest) -> Vec<Export> {
    let mut all = Vec::new();
    request.consistency = Some(fully());
    loop {
        let page = api.exports().list_exports(request.clone()).await.unwrap().into_inner();
        assert!(page.exports.len() <= usize::try_from(request.page_size).unwrap());
        all.extend(page.exports);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

pub fn project(directory: &std::path::Path, log: &Log, ring_len: usize) -> (Projection, Rebuild) {
    let directory = directory.join("views");
    let options =
        fold::ProjectionOptions { directory, ring_len, checkpoint_events: 10, segment_bytes: 4096, disk_reserve: 0 };
    fold::spawn(log.reader.clone(), log.hand_over.clone(), options, tokio::runtime::Handle::current(), |_| {}).unwrap()
}

pub fn backfill(webhooks: &Webhooks, reader: &Reader, appender: &Appender) -> Backfill {
    let nonces: Nonces = Arc::new(|| [7; 16]);
    Backfill::new(webhooks, reader.clone(), appender.downgrade(), nonces)
}

pub fn options(principal: Principal, watches_max: usize) -> ApiOptions {
    let watches_gauge = Metrics::new().watches.clone();
    ApiOptions {
        principal,
        watches_max,
        watches_share: watches_max,
        watches_gauge,
        watch_max_age: Duration::from_secs(3600),
        started_at: Timestamp::from_micros(5_000_000),
        clock: Arc::new(|| NOW),
    }
}

fn delivery(tenant: &str, mode: ModeVerdict, body: &Value) -> Delivery {
    let id = if mode == ModeVerdict::Mismatched { None } else { body["id"].as_str() };
    let key = id.map(|id| EventKey::of(Some(id), ""));
    Delivery {
        tenant: tenant.into(),
        mode,
        webhook_id: "whid".into(),
        webhook_timestamp: "1790000000".into(),
        webhook_signature: "v1,sig".into(),
        secret_label: "main".into(),
        nonce: [7; 16],
        ..webhook(key, serde_json::to_vec(body).unwrap())
    }
}

/// Returns the views after these bodies, of tenant "acme", live.
pub fn views_of(bodies: impl IntoIterator<Item = Value>, ring_len: usize) -> Arc<Views> {
    let mut fold = Fold::new(ring_len);
    for (position, body) in (1..).zip(bodies) {
        let recorded_at = Timestamp::from_micros(1_790_000_000_000_000);
        let delivery = delivery("acme", ModeVerdict::Live, &body);
        fold.advance(&Event {
            position,
            recorded_at,
            delivery,
            chain: [1; 32],
            conflict_of: None,
            contents: Contents::Whole,
        })
        .unwrap();
    }
    fold.publish()
}

const IDENTITY: Identity = Identity { log_id: 7, epoch: 8 };

pub fn open_log(directory: &std::path::Path) -> Log {
    open_log_of(directory, IDENTITY)
}

fn open_log_of(directory: &std::path::Path, fresh: Identity) -> Log {
    cleat::log::open(directory, log_options(fresh)).unwrap()
}

/// Returns options whose clock goes on by a second each time it is read.
fn log_options(identity: Identity) -> cleat::log::LogOptions {
    let now = AtomicI64::new(1_790_000_000_000_000);
    let clock: Clock = Arc::new(move || Timestamp::from_micros(now.fetch_add(1_000_000, Ordering::Relaxed)));
    let time = cleat::log::TimeSource::trusted(clock);
    let fresh = cleat::log::NewLog::new(identity, [9; 32]);
    cleat::log::LogOptions { batch_events: 100, dedup_run_events: 1000, ..cleat::log::LogOptions::new(time, fresh) }
}

pub fn at_least(token: String) -> ReadConsistency {
    ReadConsistency { requirement: Some(Requirement::AtLeastAsFresh(token)), max_wait: None }
}

pub fn fully() -> ReadConsistency {
    ReadConsistency { requirement: Some(Requirement::FullyConsistent(true)), max_wait: None }
}

/// Returns the status's code, its reason, and whether it says when to try again.
#[track_caller]
pub fn refused<T>(answer: Result<T, Status>) -> (Code, String, bool) {
    let Err(status) = answer else { panic!("it was answered") };
    let details = status.get_error_details();
    let info = details.error_info().expect("every error carries ErrorInfo");
    assert_eq!(info.domain, "cleat");
    (status.code(), info.reason.clone(), details.retry_info().is_some())
}

pub fn connected(id: &str, connection: &str, external_id: &str, status: &str) -> Value {
    let data = json!({
        "org_connection_id": connection, "external_id": external_id, "connection_status": status,
        "platform_type": "epic", "scope": "patient/*.read", "consent_expires_at": "2026-08-04T00:00:00Z",
    });
    bodies::event("patient.connection_success", id, &data)
}

pub fn revoked(id: &str, connection: &str) -> Value {
    bodies::event("patient.authorization_revoked", id, &bodies::revocation(connection))
}

pub fn failed(id: &str, task: &str, connection: &str, reason: &str) -> Value {
    let data = json!({"org_connection_id": connection, "task_id": task, "failure_reason": reason});
    bodies::event("patient.ehi_export_failed", id, &data)
}

pub fn exported(id: &str, task: &str, connection: &str) -> Value {
    let data = json!({
        "org_connection_id": connection, "task_id": task, "org_id": "o", "stats": {"total_resources": 12},
        "download_links": [{"url": "https://x.test/1", "export_type": "jsonl"}],
    });
    bodies::event("patient.ehi_export_success", id, &data)
}
