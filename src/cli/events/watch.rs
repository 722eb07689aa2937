//! `events watch`: shows the log as it grows.

use clap::Args;
use cleat::proto;
use cleat::proto::watch_events_response::Message;
use cleat::proto::watch_start::Position;
use cleat::proto::{Event, WatchEventsResponse};

use super::super::client::Target;
use super::super::follow::{self, Keep, Pulse, Watched};
use super::super::{Output, print};
use super::{Filter, client, print_row};

#[derive(Args)]
pub struct Watch {
    /// Begin after this position; 0 is before the first event. Without it: with what comes from now on.
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    target: Target,
    /// `table` for a line an event, else the events of the API, one a line.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Watched for WatchEventsResponse {
    fn resume_token(&self) -> &str {
        &self.resume_token
    }

    fn pulse(&self) -> Pulse {
        match &self.message {
            Some(Message::GoingAway(going)) => Pulse::GoingAway(going.reconnect_after),
            Some(Message::CaughtUp(_) | Message::Heartbeat(_)) => Pulse::Quiet,
            _ => Pulse::Busy,
        }
    }
}

impl Watch {
    pub async fn run(self) -> anyhow::Result<()> {
        let Self { after, keep, filter, target, output } = self;
        let start = after.map_or(Position::Live(true), Position::AfterPosition);
        let request = proto::WatchEventsRequest {
            tenant: target.tenant.clone(),
            filter: Some(filter.into_proto()),
            heartbeat_interval: Some(keep.heartbeat()),
            ..proto::WatchEventsRequest::default()
        };
        let open = async |token: Option<String>| {
            let start = Some(follow::start(token, &start));
            let request = proto::WatchEventsRequest { start, ..request.clone() };
            Ok(client(&target).await?.watch_events(request).await?.into_inner())
        };
        let handle = async |message: &WatchEventsResponse| {
            let Some(Message::EventBatch(batch)) = &message.message else { return Ok(()) };
            for event in &batch.events {
                tell(event, keep.exec.as_deref(), output).await?;
            }
            Ok(())
        };
        keep.follow(open, handle).await
    }
}

async fn tell(event: &Event, command: Option<&str>, output: Output) -> anyhow::Result<()> {
    match (command, output) {
        (Some(command), _) => {
            follow::until_done(command, &print::json("cleat.v1.Event", event, false)?, event.position).await
        }
        (None, Output::Table) => print_row(event),
        (None, Output::Json | Output::Ndjson) => print::line(&print::json("cleat.v1.Event", event, false)?),
    }
}
