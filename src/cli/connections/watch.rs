//! `connections watch`: shows changes as they happen.

use clap::Args;
use cleat::proto::change::{Effect, Entity};
use cleat::proto::watch_connections_response::Message;
use cleat::proto::watch_start::Position;
use cleat::proto::{self, Change, Connection, WatchConnectionsResponse};

use super::filter::Filter;
use super::show;
use crate::cli::args::Output;
use crate::cli::client::Realm;
use crate::cli::follow::{self, FollowArgs, Liveness, Watched};
use crate::cli::{exports, print};

#[derive(Args)]
pub struct Watch {
    /// Show all that is there first.
    #[arg(long)]
    snapshot: bool,
    #[command(flatten)]
    follow_args: FollowArgs,
    #[command(flatten)]
    filter: Filter,
    /// Only changes that events of this type brought, as Fasten writes it. Repeat it for more.
    #[arg(long, value_name = "TYPE")]
    event_type: Vec<String>,
    #[command(flatten)]
    realm: Realm,
    /// `table` for a line a change, `ndjson` for the messages of the API.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Watched for WatchConnectionsResponse {
    fn resume_token(&self) -> &str {
        &self.resume_token
    }

    fn liveness(&self) -> Liveness {
        match &self.message {
            Some(Message::GoingAway(going)) => Liveness::GoingAway(going.reconnect_after),
            Some(Message::CaughtUp(_) | Message::Heartbeat(_)) => Liveness::Quiet,
            _ => Liveness::Busy,
        }
    }
}

impl Watch {
    pub async fn run(self) -> anyhow::Result<()> {
        let Self { snapshot, follow_args, filter, event_type, realm, output } = self;
        let start = if snapshot { Position::Snapshot(true) } else { Position::Live(true) };
        let request = proto::WatchConnectionsRequest {
            tenant: realm.tenant(),
            api_mode: realm.api_mode(),
            filter: Some(proto::ConnectionFilter { event_types: event_type, ..filter.into_proto() }),
            heartbeat_interval: Some(follow_args.heartbeat()),
            ..proto::WatchConnectionsRequest::default()
        };
        let open = async |token: Option<String>| {
            let start = Some(follow::start(token, &start));
            let request = proto::WatchConnectionsRequest { start, ..request.clone() };
            Ok(realm.connection_client().await?.watch_connections(request).await?.into_inner())
        };
        let handle = async |message: &WatchConnectionsResponse| match (&follow_args.exec, output) {
            (Some(command), _) => run_for_each(command, message).await,
            (None, Output::Table) => rows(message).iter().try_for_each(|row| print::row(row)),
            (None, Output::Json | Output::Ndjson) => {
                print::line(&print::json("cleat.v1.WatchConnectionsResponse", message, false)?)
            }
        };
        follow_args.follow(open, handle).await
    }
}

/// Runs the command for each change. The entities of a snapshot count as entered.
async fn run_for_each(command: &str, message: &WatchConnectionsResponse) -> anyhow::Result<()> {
    let entered = |entity| Change { effect: Effect::Entered.into(), entity: Some(entity), previous: None };
    let changes: Vec<Change> = match &message.message {
        Some(Message::SnapshotBatch(batch)) => {
            let connections = batch.connections.iter().cloned().map(Entity::Connection);
            connections.chain(batch.exports.iter().cloned().map(Entity::Export)).map(entered).collect()
        }
        Some(Message::ChangeBatch(batch)) => batch.changes.clone(),
        _ => Vec::new(),
    };
    for change in changes {
        let json = print::json("cleat.v1.Change", &change, false)?;
        follow::until_done(command, &json, message.position).await?;
    }
    Ok(())
}

/// The rows of a message for a person. A heartbeat has none.
fn rows(message: &WatchConnectionsResponse) -> Vec<Vec<String>> {
    let position = format!("{:>8}", message.position);
    let connection_row = |word: &str, connection: &Connection| {
        let mut row = vec![position.clone(), format!("{word:<8}"), "connection".to_owned()];
        row.extend(show::row(connection));
        row
    };
    let export_row = |word: &str, export: &proto::Export| {
        let mut row = vec![position.clone(), format!("{word:<8}"), "export    ".to_owned()];
        row.extend([export.task_id.clone(), exports::status(export), export.org_connection_id.clone()]);
        row
    };
    match &message.message {
        Some(Message::SnapshotBatch(batch)) => {
            let connections = batch.connections.iter().map(|connection| connection_row("is", connection));
            connections.chain(batch.exports.iter().map(|export| export_row("is", export))).collect()
        }
        Some(Message::ChangeBatch(batch)) => {
            let row = |change: &Change| {
                let word = match change.effect() {
                    Effect::Entered => "entered",
                    Effect::Left => "left",
                    Effect::Updated | Effect::Unspecified => "updated",
                };
                change.entity.as_ref().map(|entity| match entity {
                    Entity::Connection(connection) => connection_row(word, connection),
                    Entity::Export(export) => export_row(word, export),
                })
            };
            batch.changes.iter().filter_map(row).collect()
        }
        Some(Message::GoingAway(going)) => {
            vec![vec![position, format!("the daemon is going away: {}", going.reason)]]
        }
        _ => Vec::new(),
    }
}
