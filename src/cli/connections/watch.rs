//! `connections watch`: changes as they happen.

use clap::Args;
use cleat::proto;
use cleat::proto::Connection;
use cleat::proto::watch_connections_response::Message;
use cleat::proto::watch_start::Position;

use super::super::client::Realm;
use super::super::{Output, exports, print};
use super::filter::Filter;
use super::{client, show};

#[derive(Args)]
pub struct Watch {
    /// Show all that is there first.
    #[arg(long)]
    snapshot: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    realm: Realm,
    /// `table` for a line a change, `ndjson` for the messages of the API.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Watch {
    pub async fn run(self) -> anyhow::Result<()> {
        let start = if self.snapshot { Position::Snapshot(true) } else { Position::Live(true) };
        let request = proto::WatchConnectionsRequest {
            tenant: self.realm.tenant(),
            api_mode: self.realm.api_mode(),
            start: Some(proto::WatchStart { position: Some(start) }),
            filter: Some(self.filter.into_proto()),
            ..proto::WatchConnectionsRequest::default()
        };
        let mut messages = client(&self.realm).await?.watch_connections(request).await?.into_inner();
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
        |word: &str, it: &Connection| format!("{position:>8}  {word:<8}  connection  {}", show::row(it).join("  "));
    let export = |word: &str, it: &proto::Export| {
        let status = exports::status(it);
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
