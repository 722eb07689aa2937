//! `WatchEvents`: the log itself, as it grows. Its events come from the log, never from the views. Knows nothing of the
//! fold.

use std::pin::Pin;
use std::sync::Arc;

use async_stream::try_stream;
use parking_lot::{Mutex, MutexGuard};
use prost::Message as _;
use tokio_stream::Stream;
use tonic::Status;

use super::source::{EventFeeds, matching};
use crate::event::{Cursor, Position};
use crate::log::{Selection, Tail};
use crate::proto::watch_events_response::Message as Body;
use crate::proto::{CaughtUp, EventBatch, Heartbeat, WatchEventsRequest, WatchEventsResponse};
use crate::serve::limits::Caller;
use crate::serve::principal::Principal;
use crate::serve::query::EventFilter;
use crate::serve::read::{Context, WatchSlot};
use crate::serve::refusal::Refusal;
use crate::serve::serving_state::ServingState;
use crate::serve::watch::shared::start::{self, started};
use crate::serve::watch::shared::{
    Feed, FeedEntry, Lifecycle, Resumable, ResumePoint, Session, SessionMessage, Start, WatchRun, WatchSource,
    lifecycle,
};

pub type EventMessages = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

pub async fn open(
    context: &Arc<Context>,
    feeds: &Arc<EventFeeds>,
    caller: Caller,
    principal: Principal,
    request: WatchEventsRequest,
) -> Result<EventMessages, Refusal> {
    context.gate_of_the_log()?;
    let filter = Arc::new(EventFilter::read(principal, &request.tenant, request.filter)?);
    let heartbeat = lifecycle::heartbeat(request.heartbeat_interval)?;
    let slot = context.take_watch_slot(caller)?;
    // 0 marks a token of the log alone, which does not depend on the fold.
    let resumable = Resumable { filter_hash: filter.hash(), fold_version: 0 };
    let at = match start::find(context, &resumable, &context.published(), request.start).await? {
        Start::After(at) => at,
        Start::Live => {
            let head = context.reader.head();
            head.cursor()
        }
        Start::Snapshot => {
            return Err(Refusal::InvalidField { field: "start.snapshot", problem: "events have none" });
        }
    };
    let life = Lifecycle::begin(context, &slot, heartbeat, ServingState::ends_event_watches);
    let source = LogEvents { context: context.clone(), caller, filter: filter.clone(), tail: Mutex::default() };
    let live = Session::new(source, feeds, &filter, life, at);
    Ok(Box::pin(messages(context.clone(), resumable, live, at, slot)))
}

fn messages(
    context: Arc<Context>,
    resumable: Resumable,
    mut live: Session<LogEvents>,
    start: Cursor,
    slot: WatchSlot,
) -> impl Stream<Item = Result<WatchEventsResponse, Status>> + Send {
    try_stream! {
        // Dropped with the stream, which ends the count of this watch.
        let _slot: WatchSlot = slot;
        yield message(&context, &resumable, start, Body::Started(started(&context, false)));
        loop {
            let (at, told) = live.next().await?;
            yield message(&context, &resumable, at, body(told)?);
        }
    }
}

fn message(context: &Context, resumable: &Resumable, at: Cursor, body: Body) -> WatchEventsResponse {
    let resume_token = resumable.token(context.reader.identity(), ResumePoint::After(at));
    WatchEventsResponse { position: at.position, resume_token, message: Some(body) }
}

fn body(told: SessionMessage<EventBatch>) -> Result<Body, Refusal> {
    Ok(match told {
        SessionMessage::Batch(batch) => Body::EventBatch(batch),
        SessionMessage::CaughtUp => Body::CaughtUp(CaughtUp {}),
        SessionMessage::Heartbeat => Body::Heartbeat(Heartbeat {}),
        SessionMessage::GoingAway(going_away) => Body::GoingAway(going_away),
        // The log can always be read, so a watch of it never falls behind.
        SessionMessage::FellBehind => return Err(Refusal::Internal),
    })
}

/// Maximum memory that the events of one block take. A large event has a block of its own.
const READ_BYTES: usize = 512 * 1024;

struct LogEvents {
    context: Arc<Context>,
    caller: Caller,
    filter: Arc<EventFilter>,
    /// Position read last, and the tail after it.
    tail: Mutex<Option<(Position, Tail)>>,
}

impl LogEvents {
    fn lock_tail(&self) -> MutexGuard<'_, Option<(Position, Tail)>> {
        self.tail.lock()
    }
}

impl WatchSource for LogEvents {
    type Query = EventFilter;
    type Shared = EventBatch;
    type Own = EventBatch;
    type Batch = EventBatch;

    fn end(&self) -> Position {
        self.context.reader.head().position
    }

    /// Resolves when the log grows. A closed log never does: then the serving state ends the watch.
    async fn grown(&self, after: Position) {
        if !self.context.reader.tail(after).wait().await {
            std::future::pending::<()>().await;
        }
    }

    /// Reads events that are stored together: a block, or one large event.
    async fn read(self: Arc<Self>, after: Cursor) -> Result<WatchRun<EventBatch>, Refusal> {
        let Context { reader, scans, .. } = &*self.context;
        let mut charge = self.context.room_to_catch_up(self.caller, READ_BYTES).await?;
        let tail = self.lock_tail().take().filter(|(position, _)| *position == after.position);
        let (mut tail, filter) =
            (tail.map_or_else(|| reader.tail(after.position), |(_, tail)| tail), self.filter.clone());
        let work = move || {
            let read = tail.select(|header| filter.may_match(header)).map(|selection| {
                let (events, through) = match selection {
                    Some(Selection { events, through, chain, .. }) => (events, Cursor::new(through, &chain)),
                    None => (Vec::new(), after),
                };
                let seen: Vec<_> = matching(&filter, events, through, EventBatch::from).into_iter().collect();
                let bytes = seen.iter().map(|seen| seen.what.encoded_len()).sum::<usize>();
                // A smaller amount always fits.
                let charge = charge.resize(bytes.min(READ_BYTES)).is_ok().then_some(charge);
                WatchRun { seen, through, charge }
            });
            (tail, read)
        };
        let (tail, read) = scans.take_turn(self.caller, work).await?;
        let run = read?;
        *self.lock_tail() = Some((run.through.position, tail));
        Ok(run)
    }

    async fn tell(self: Arc<Self>, batch: EventBatch) -> Result<Option<EventBatch>, Refusal> {
        Ok(Some(batch))
    }

    async fn tell_all(
        self: Arc<Self>,
        _: Arc<Feed<EventBatch>>,
        batch: Arc<FeedEntry<EventBatch>>,
    ) -> Result<Option<EventBatch>, Refusal> {
        Ok(Some(batch.what.clone()))
    }

    fn is_behind(&self, _: Position) -> bool {
        false
    }
}
