//! `WatchEvents`: the log itself, as it grows. It reads the log, never the views.

use std::pin::Pin;
use std::sync::Arc;

use async_stream::try_stream;
use tokio_stream::Stream;
use tonic::Status;

use super::super::context::{Context, WatchSlot, off_runtime};
use super::super::event_filter::EventFilter;
use super::super::principal::Principal;
use super::super::status::Refusal;
use super::life::{Life, Turn};
use super::plan;
use super::start::{self, Resumable, Start};
use super::{At, started};
use crate::log::Tail;
use crate::proto::watch_events_response::Message as Body;
use crate::proto::{CaughtUp, EventBatch, Heartbeat, WatchEventsRequest, WatchEventsResponse};
use crate::token::chain_prefix;

pub(in super::super) type EventMessages = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

pub(in super::super) async fn open(
    context: &Arc<Context>,
    caller: Principal,
    request: WatchEventsRequest,
) -> Result<EventMessages, Refusal> {
    context.gate_of_the_log()?;
    let filter = EventFilter::read(caller, &request.tenant, request.filter)?;
    let heartbeat = plan::heartbeat(request.heartbeat_interval)?;
    let slot = context.take_watch_slot()?;
    // Of the log alone: no fold has a part in it.
    let resumable = Resumable { filter_hash: filter.hash(), fold_version: 0 };
    let at = match start::find(context, &resumable, &context.views(), request.start).await? {
        Start::After(at) => at,
        Start::Live => {
            let head = context.reader.head();
            At { position: head.position, chain: chain_prefix(&head.chain) }
        }
        Start::Snapshot => {
            return Err(Refusal::InvalidField { field: "start.snapshot", problem: "events have none" });
        }
    };
    let life = Life::begin(context, &slot, heartbeat);
    let tail = Some(context.reader.tail(at.position));
    let follower = Follower { filter: Arc::new(filter), life, tail, at };
    Ok(Box::pin(messages(context.clone(), resumable, follower, slot)))
}

fn messages(
    context: Arc<Context>,
    resumable: Resumable,
    mut follower: Follower,
    slot: WatchSlot,
) -> impl Stream<Item = Result<WatchEventsResponse, Status>> + Send {
    try_stream! {
        // It ends the count of this watch with the stream.
        let _slot: WatchSlot = slot;
        let started = Body::Started(started(&context, false));
        yield message(&context, &resumable, follower.at, started);
        loop {
            let body = follower.next().await?;
            yield message(&context, &resumable, follower.at, body);
        }
    }
}

fn message(context: &Context, resumable: &Resumable, at: At, body: Body) -> WatchEventsResponse {
    let resume_token = resumable.token(context.reader.identity(), at);
    WatchEventsResponse { position: at.position, resume_token, message: Some(body) }
}

struct Follower {
    filter: Arc<EventFilter>,
    life: Life,
    /// None while it is being read.
    tail: Option<Tail>,
    /// Everything up to here has been sent.
    at: At,
}

impl Follower {
    async fn next(&mut self) -> Result<Body, Refusal> {
        if let Some(going_away) = self.life.check()? {
            return Ok(Body::GoingAway(going_away));
        }
        loop {
            if self.life.has_caught_up(self.at.position) {
                return Ok(Body::CaughtUp(CaughtUp {}));
            }
            let tail = self.tail.as_mut().ok_or(Refusal::Internal)?;
            match self.life.turn(grown(tail)).await {
                Turn::Heartbeat => return Ok(Body::Heartbeat(Heartbeat {})),
                Turn::End(refusal) => return self.life.end(refusal).map(Body::GoingAway),
                Turn::More => {
                    let events = self.take().await?;
                    if !events.is_empty() {
                        return Ok(Body::EventBatch(EventBatch { events }));
                    }
                }
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Those that match of what is stored together: a block, or one large event.
    async fn take(&mut self) -> Result<Vec<crate::proto::Event>, Refusal> {
        let (mut tail, filter) = (self.tail.take().ok_or(Refusal::Internal)?, self.filter.clone());
        let (tail, read) = off_runtime(move || {
            let read = tail.read().map(|events| {
                let last = events.last().map(|last| At { position: last.position, chain: chain_prefix(&last.chain) });
                (events.into_iter().filter_map(|event| filter.matching(event)).collect(), last)
            });
            (tail, read)
        })
        .await?;
        self.tail = Some(tail);
        let (events, last) = read?;
        self.at = last.unwrap_or(self.at);
        Ok(events)
    }
}

/// Until there is more to read. A log that is closed has no more: what ends then is the state.
async fn grown(tail: &mut Tail) {
    if !tail.wait().await {
        std::future::pending::<()>().await;
    }
}
