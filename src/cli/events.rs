//! `events get`, `read`, `watch` and `readmit`.

use anyhow::bail;
use clap::{Args, Subcommand};
use cleat::proto;
use cleat::proto::admin_service_client::AdminServiceClient;
use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::get_event_request::Event as RequestedEvent;
use cleat::proto::watch_events_response::Message;
use cleat::proto::watch_start::Position;
use cleat::proto::{Event, ReadmittedEvent, WatchEventsResponse};
use tonic::transport::Channel;

use super::args::Output;
use super::client::{MESSAGE_BYTES_MAX, Target};
use super::follow::{self, FollowArgs, Liveness, Watched};
use super::format::{self, or_dash, time, word};
use super::print;

#[derive(Subcommand)]
pub(super) enum Events {
    /// Show one event, with its body as it was received.
    Get(Get),
    /// Show events in order, from one position to another.
    Read(Read),
    /// Show events as they come, until interrupted.
    Watch(Watch),
    /// Apply events of the other mode than their endpoint had, once the configuration is mended. It may be done again.
    Readmit(Readmit),
}

#[derive(Args)]
pub(super) struct Get {
    /// A position, or an event key: `id:` and the body's id.
    event: String,
    #[command(flatten)]
    target: Target,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Args)]
pub(super) struct Filter {
    /// Only of this type, as Fasten writes it. Repeat it for more.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only those whose body cannot be read.
    #[arg(long)]
    unreadable: bool,
    /// Only those of another `api_mode` than their endpoint's, or of no known one: kept, but not applied.
    #[arg(long)]
    mismatched: bool,
    /// Only duplicates that tell something else than the first event of their key.
    #[arg(long)]
    conflicting: bool,
}

impl Filter {
    fn into_proto(self) -> proto::EventFilter {
        let Self { types, unreadable, mismatched, conflicting } = self;
        proto::EventFilter { types, unreadable, mismatched, conflicting }
    }
}

#[derive(Args)]
pub(super) struct Read {
    /// The first position.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// The last position; without it, the head.
    #[arg(long)]
    to: Option<u64>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    target: Target,
    /// `table` for a line an event, else the events of the API, one a line.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Args)]
pub(super) struct Watch {
    /// Begin after this position; 0 is before the first event. Without it: with what comes from now on.
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    #[command(flatten)]
    follow_args: FollowArgs,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    target: Target,
    /// `table` for a line an event, else the events of the API, one a line.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Args)]
pub(super) struct Readmit {
    /// Positions that `cleat events read --mismatched` lists.
    #[arg(required = true, value_name = "POSITION")]
    positions: Vec<u64>,
    #[command(flatten)]
    target: Target,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Events {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Get(get) => get.run().await,
            Self::Read(read) => read.run().await,
            Self::Watch(watch) => watch.run().await,
            Self::Readmit(readmit) => readmit.run().await,
        }
    }
}

async fn client(target: &Target) -> anyhow::Result<EventServiceClient<Channel>> {
    Ok(EventServiceClient::new(target.connect().await?).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

impl Get {
    async fn run(self) -> anyhow::Result<()> {
        let event = match self.event.parse() {
            Ok(position) => RequestedEvent::Position(position),
            Err(_) => RequestedEvent::EventKey(self.event),
        };
        let request = proto::GetEventRequest { tenant: self.target.tenant.clone(), event: Some(event) };
        let response = client(&self.target).await?.get_event(request).await?.into_inner();
        print::one("cleat.v1.Event", &response.event.unwrap_or_default(), self.output, facts)
    }
}

impl Read {
    async fn run(self) -> anyhow::Result<()> {
        let request = proto::ReadEventsRequest {
            tenant: self.target.tenant.clone(),
            from_position: self.from,
            to_position: self.to.unwrap_or_default(),
            filter: Some(self.filter.into_proto()),
        };
        let mut parts = client(&self.target).await?.read_events(request).await?.into_inner();
        while let Some(part) = parts.message().await? {
            part.events.iter().try_for_each(|event| match self.output {
                Output::Table => print_row(event),
                Output::Json | Output::Ndjson => print::line(&print::json("cleat.v1.Event", event, false)?),
            })?;
        }
        Ok(())
    }
}

impl Watched for WatchEventsResponse {
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
    async fn run(self) -> anyhow::Result<()> {
        let Self { after, follow_args, filter, target, output } = self;
        let start = after.map_or(Position::Live(true), Position::AfterPosition);
        let request = proto::WatchEventsRequest {
            tenant: target.tenant.clone(),
            filter: Some(filter.into_proto()),
            heartbeat_interval: Some(follow_args.heartbeat()),
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
                show_event(event, follow_args.exec.as_deref(), output).await?;
            }
            Ok(())
        };
        follow_args.follow(open, handle).await
    }
}

impl Readmit {
    async fn run(self) -> anyhow::Result<()> {
        let mut client = AdminServiceClient::new(self.target.connect().await?);
        let mut all = Vec::new();
        for positions in self.positions.chunks(1000) {
            let request =
                proto::ReadmitEventsRequest { tenant: self.target.tenant.clone(), positions: positions.to_vec() };
            all.extend(client.readmit_events(request).await?.into_inner().events);
        }
        print::many("cleat.v1.ReadmittedEvent", &all, self.output, &["EVENT", "APPLIED BY", ""], readmitted)?;
        let failed: Vec<_> = all.iter().filter(|event| !event.problem.is_empty()).collect();
        for event in &failed {
            print::note(&format!("event {}: {}", event.position, event.problem));
        }
        if failed.is_empty() {
            return Ok(());
        }
        bail!("{} of {} events are not readmitted", failed.len(), all.len());
    }
}

fn readmitted(event: &ReadmittedEvent) -> Vec<String> {
    let ReadmittedEvent { position, applied_position, duplicate, problem } = event;
    let remark = match (duplicate, problem.is_empty()) {
        (true, _) => "it was there already",
        (false, true) => "",
        (false, false) => "not readmitted",
    };
    vec![position.to_string(), or_dash(&format::position(*applied_position)), remark.to_owned()]
}

fn mode(event: &Event) -> String {
    match event.mode_verdict() {
        proto::ModeVerdict::Matched => word(event.api_mode().as_str_name(), "API_MODE_"),
        other => word(other.as_str_name(), "MODE_VERDICT_"),
    }
}

fn kind(event: &Event) -> &str {
    if event.unreadable { "(unreadable)" } else { &event.r#type }
}

fn print_row(event: &Event) -> anyhow::Result<()> {
    let position = format!("{:>8}", event.position);
    let recorded = format!("{:<27}", time(event.recorded_at));
    let mode = format!("{:<10}", mode(event));
    print::row(&[&position, &recorded, &mode, &event.endpoint, kind(event), &event.event_key])
}

async fn show_event(event: &Event, command: Option<&str>, output: Output) -> anyhow::Result<()> {
    match (command, output) {
        (Some(command), _) => {
            follow::until_done(command, &print::json("cleat.v1.Event", event, false)?, event.position).await
        }
        (None, Output::Table) => print_row(event),
        (None, Output::Json | Output::Ndjson) => print::line(&print::json("cleat.v1.Event", event, false)?),
    }
}

/// Everything known about one event, one fact a line.
fn facts(event: &Event) -> Vec<Vec<String>> {
    let mut facts = format::facts([
        ("position", event.position.to_string()),
        ("recorded", time(event.recorded_at)),
        ("type", kind(event).to_owned()),
        ("mode", mode(event)),
        ("tenant", event.tenant.clone()),
        ("endpoint", event.endpoint.clone()),
        ("provenance", word(event.provenance().as_str_name(), "PROVENANCE_")),
        ("event key", event.event_key.clone()),
        ("conflict of", format::position(event.conflict_of)),
        ("webhook id", event.webhook_id.clone()),
        ("webhook timestamp", event.webhook_timestamp.clone()),
        ("secret", event.secret_label.clone()),
    ]);
    // Puts every line of the body under the first, so that none looks like a fact.
    let body = String::from_utf8_lossy(&event.body);
    let names = std::iter::once("body").chain(std::iter::repeat(""));
    facts.extend(names.zip(body.lines()).map(|(name, line)| vec![name.to_owned(), line.to_owned()]));
    facts
}
