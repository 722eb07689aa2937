//! Connects commands to a running daemon.

use anyhow::Context as _;
use clap::Args;
use cleat::proto;
use cleat::proto::connection_service_client::ConnectionServiceClient;
use tonic::transport::{Channel, Endpoint};

/// Maximum size of a message. Streams may be large; tonic's own limit is 4 MiB.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where the daemon's API is, and for whom to ask.
#[derive(Args)]
pub(super) struct Target {
    /// The gRPC address, or `unix:/path/to/socket`.
    #[arg(long, value_name = "ADDRESS", env = "CLEAT_GRPC", default_value = "127.0.0.1:7481")]
    address: String,
    /// The tenant, where there are several.
    #[arg(long, env = "CLEAT_TENANT", default_value = "")]
    pub tenant: String,
}

/// Where the daemon's API is, for whom to ask, and in which of Fasten's two modes.
#[derive(Args)]
pub(super) struct Realm {
    #[command(flatten)]
    pub target: Target,
    /// Ask for what is of Fasten's test mode.
    #[arg(long)]
    test: bool,
}

impl Realm {
    pub fn tenant(&self) -> String {
        self.target.tenant.clone()
    }

    pub fn api_mode(&self) -> i32 {
        let mode = if self.test { proto::ApiMode::Test } else { proto::ApiMode::Live };
        mode.into()
    }

    pub async fn connection_client(&self) -> anyhow::Result<ConnectionServiceClient<Channel>> {
        Ok(ConnectionServiceClient::new(self.target.connect().await?).max_decoding_message_size(MESSAGE_BYTES_MAX))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot reach cleat's {port} at {address}; is `cleat serve` running?")]
pub(super) struct Unreachable {
    pub port: &'static str,
    pub address: String,
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Target {
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let uri = if self.address.starts_with("unix:") || self.address.contains("://") {
            self.address.clone()
        } else {
            format!("http://{}", self.address)
        };
        let endpoint = Endpoint::from_shared(uri).with_context(|| format!("{} is not an address", self.address))?;
        let unreachable = |source: tonic::transport::Error| Unreachable {
            port: "API",
            address: self.address.clone(),
            source: source.into(),
        };
        Ok(endpoint.connect().await.map_err(unreachable)?)
    }
}

/// Returns the rows of a list, at most `limit`. `page` gets the token of a page, empty for the first. It returns the
/// rows, and the token of the next page.
pub(super) async fn rows<T>(
    limit: Option<usize>,
    mut page: impl AsyncFnMut(String) -> anyhow::Result<(Vec<T>, String)>,
) -> anyhow::Result<Vec<T>> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (rows, next) = page(token).await?;
        all.extend(rows);
        all.truncate(limit.unwrap_or(usize::MAX));
        if next.is_empty() || Some(all.len()) == limit {
            return Ok(all);
        }
        token = next;
    }
}

/// How a list is sorted and where it ends.
#[derive(Args)]
pub(super) struct Top {
    /// Sort by this field of the API, ascending, or with ` desc` after it; without it, by id.
    #[arg(long, value_name = "FIELD", default_value = "", hide_default_value = true)]
    pub order_by: String,
    /// Only the first so many.
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<usize>,
}

/// Maximum size of a page of the API.
pub(super) const PAGE_ROWS: i32 = 1000;

impl Top {
    /// The size of a page: the limit, up to the maximum.
    pub fn page_size(&self) -> i32 {
        self.limit.and_then(|limit| i32::try_from(limit).ok()).map_or(PAGE_ROWS, |limit| limit.clamp(1, PAGE_ROWS))
    }
}

/// Runs a command on one thread, which is enough for a client.
pub(super) fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?.block_on(command)
}
