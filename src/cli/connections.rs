//! `connections get`, `list` and `watch`.

use clap::{Args, Subcommand};
use cleat::proto;
use cleat::proto::connection_service_client::ConnectionServiceClient;
use cleat::proto::watch_connections_response::Message;
use cleat::proto::watch_start::Position;
use cleat::proto::{Connection, ConnectionStatus};
use tonic::transport::Channel;

use super::client::{MESSAGE_BYTES_MAX, Target};
use super::{Output, print};

#[derive(Subcommand)]
pub(super) enum Connections {
    /// Show one connection.
    Get(Get),
    /// List connections, in order of their ids.
    List(List),
    /// Show changes as they happen, until interrupted.
    Watch(Watch),
}

#[derive(Args)]
pub(super) struct Get {
    /// Fasten's `org_connection_id`.
    id: String,
    #[command(flatten)]
    target: Target,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    target: Target,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Args)]
pub(super) struct Watch {
    /// Show all that is there first.
    #[arg(long)]
    snapshot: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    target: Target,
    /// `table` for a line a change, `ndjson` for the messages of the API.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Args)]
struct Filter {
    /// Only connections of this patient, by your own id. Repeat it for more.
    #[arg(long, value_name = "ID")]
    external_id: Vec<String>,
    /// Only connections of this platform: epic, cerner, tefca, ...
    #[arg(long, value_name = "TYPE")]
    platform_type: Vec<String>,
}

impl Filter {
    fn into_proto(self) -> proto::ConnectionFilter {
        proto::ConnectionFilter {
            external_ids: self.external_id,
            platform_types: self.platform_type,
            ..proto::ConnectionFilter::default()
        }
    }
}

impl Connections {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Get(get) => get.run().await,
            Self::List(list) => list.run().await,
            Self::Watch(watch) => watch.run().await,
        }
    }
}

async fn client(target: &Target) -> anyhow::Result<ConnectionServiceClient<Channel>> {
    Ok(ConnectionServiceClient::new(target.connect().await?).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

impl Get {
    async fn run(self) -> anyhow::Result<()> {
        let request = proto::GetConnectionRequest {
            tenant: self.target.tenant.clone(),
            api_mode: self.target.api_mode(),
            org_connection_id: self.id,
            ..proto::GetConnectionRequest::default()
        };
        let response = client(&self.target).await?.get_connection(request).await?.into_inner();
        let connection = response.connection.unwrap_or_default();
        match self.output {
            Output::Table => print::table(&facts(&connection)),
            Output::Json => print::line(&print::json("cleat.v1.Connection", &connection, true)?),
            Output::Ndjson => print::line(&print::json("cleat.v1.Connection", &connection, false)?),
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let mut client = client(&self.target).await?;
        let mut request = proto::ListConnectionsRequest {
            tenant: self.target.tenant.clone(),
            api_mode: self.target.api_mode(),
            filter: Some(self.filter.into_proto()),
            page_size: 1000,
            ..proto::ListConnectionsRequest::default()
        };
        let mut all = Vec::new();
        loop {
            let page = client.list_connections(request.clone()).await?.into_inner();
            all.extend(page.connections);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        print_all(&all, self.output)
    }
}

fn print_all(connections: &[Connection], output: Output) -> anyhow::Result<()> {
    let json = |connection| print::json("cleat.v1.Connection", connection, false);
    match output {
        Output::Table => {
            let header = ["CONNECTION", "STATUS", "EXTERNAL ID", "PLATFORM", "VERSION", "POSITION"].map(String::from);
            let rows = connections.iter().map(row);
            print::table(&std::iter::once(header.to_vec()).chain(rows).collect::<Vec<_>>())
        }
        Output::Json => {
            let all = connections.iter().map(json).collect::<anyhow::Result<Vec<_>>>()?;
            print::line(&format!("[{}]", all.join(",\n ")))
        }
        Output::Ndjson => connections.iter().try_for_each(|connection| print::line(&json(connection)?)),
    }
}

impl Watch {
    async fn run(self) -> anyhow::Result<()> {
        let start = if self.snapshot { Position::Snapshot(true) } else { Position::Live(true) };
        let request = proto::WatchConnectionsRequest {
            tenant: self.target.tenant.clone(),
            api_mode: self.target.api_mode(),
            start: Some(proto::WatchStart { position: Some(start) }),
            filter: Some(self.filter.into_proto()),
            ..proto::WatchConnectionsRequest::default()
        };
        let mut messages = client(&self.target).await?.watch_connections(request).await?.into_inner();
        while let Some(message) = messages.message().await? {
            match self.output {
                Output::Table => lines(message).into_iter().try_for_each(|line| print::line(&line))?,
                Output::Json | Output::Ndjson => {
                    print::line(&print::json("cleat.v1.WatchConnectionsResponse", &message, false)?)?;
                }
            }
        }
        Ok(())
    }
}

/// What a message tells a person; heartbeats tell nothing.
fn lines(message: proto::WatchConnectionsResponse) -> Vec<String> {
    use cleat::proto::change::{Effect, Entity};
    let position = message.position;
    let connection =
        |word: &str, it: &Connection| format!("{position:>8}  {word:<8}  connection  {}", row(it).join("  "));
    let export = |word: &str, it: &proto::Export| {
        let status = it.status().as_str_name().trim_start_matches("EXPORT_STATUS_").to_lowercase();
        format!("{position:>8}  {word:<8}  export      {}  {status}  {}", it.task_id, it.org_connection_id)
    };
    match message.message {
        Some(Message::SnapshotBatch(batch)) => {
            let connections = batch.connections.iter().map(|it| connection("is", it));
            connections.chain(batch.exports.iter().map(|it| export("is", it))).collect()
        }
        Some(Message::ChangeBatch(batch)) => {
            let line = |change: &proto::Change| {
                let word = match change.effect() {
                    Effect::Entered => "entered",
                    Effect::Left => "left",
                    Effect::Updated | Effect::Unspecified => "updated",
                };
                change.entity.as_ref().map(|entity| match entity {
                    Entity::Connection(it) => connection(word, it),
                    Entity::Export(it) => export(word, it),
                })
            };
            batch.changes.iter().filter_map(line).collect()
        }
        Some(Message::GoingAway(going)) => vec![format!("{position:>8}  the daemon is going away: {}", going.reason)],
        _ => Vec::new(),
    }
}

fn status(connection: &Connection) -> String {
    match connection.status() {
        ConnectionStatus::Unrecognized => connection.reported_status.clone(),
        known => known.as_str_name().trim_start_matches("CONNECTION_STATUS_").to_lowercase(),
    }
}

fn row(connection: &Connection) -> Vec<String> {
    let Connection { org_connection_id, external_id, platform_type, version, last_position, .. } = connection;
    let or_dash = |text: &String| if text.is_empty() { "-".to_owned() } else { text.clone() };
    vec![
        org_connection_id.clone(),
        status(connection),
        or_dash(external_id),
        or_dash(platform_type),
        version.to_string(),
        last_position.to_string(),
    ]
}

/// All that is known of one connection, a line a fact.
fn facts(connection: &Connection) -> Vec<Vec<String>> {
    let yes = |it: bool| if it { "yes".to_owned() } else { String::new() };
    let time = |at: Option<prost_types::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let facts = [
        ("connection", connection.org_connection_id.clone()),
        ("status", status(connection)),
        ("status since", time(connection.status_recorded_at)),
        ("external id", connection.external_id.clone()),
        ("external state", connection.external_state.clone()),
        ("request id", connection.request_id.clone()),
        ("scope", connection.scope.clone()),
        ("consent expires", time(connection.consent_expires_at)),
        ("platform", connection.platform_type.clone()),
        ("endpoint", connection.endpoint_id.clone()),
        ("brand", connection.brand_id.clone()),
        ("portal", connection.portal_id.clone()),
        ("tefca directory", connection.tefca_directory_id.clone()),
        ("organisation", connection.org_id.clone()),
        ("order ambiguous", yes(connection.order_ambiguous)),
        ("needs reconnect", yes(connection.needs_reconnect)),
        ("version", connection.version.to_string()),
        ("last position", connection.last_position.to_string()),
        ("last recorded", time(connection.last_recorded_at)),
    ];
    let told = facts.into_iter().filter(|(_, fact)| !fact.is_empty());
    told.map(|(name, fact)| vec![name.to_owned(), fact]).collect()
}
