//! The stream of one `WatchEvents`: its request, checked, and its messages. Knows nothing of how events are stored.

use std::pin::Pin;
use std::sync::Arc;

use async_stream::try_stream;
use tokio_stream::Stream;
use tonic::Status;

use super::feeds::EventFeeds;
use super::source::EventSource;
use crate::event::Cursor;
use crate::proto::watch_events_response::Message as Body;
use crate::proto::{CaughtUp, EventBatch, Heartbeat, WatchEventsRequest, WatchEventsResponse};
use crate::serve::limits::Caller;
use crate::serve::principal::Principal;
use crate::serve::query::EventFilter;
use crate::serve::read::{Context, WatchSlot};
use crate::serve::refusal::Refusal;
use crate::serve::serving_state::ServingState;
use crate::serve::watch::shared::start::{self, started};
use crate::serve::watch::shared::{Lifecycle, Resumable, ResumePoint, Session, SessionMessage, Start, lifecycle};

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
            let head = context.sources.reader.head();
            head.cursor()
        }
        Start::Snapshot => {
            return Err(Refusal::InvalidField { field: "start.snapshot", problem: "events have none" });
        }
    };
    let lifecycle = Lifecycle::begin(context, &slot, heartbeat, ServingState::ends_event_watches);
    let source = EventSource::of(context, caller, &filter);
    let session = Session::new(source, feeds, &filter, lifecycle, at);
    Ok(Box::pin(messages(context.clone(), resumable, session, at, slot)))
}

fn messages(
    context: Arc<Context>,
    resumable: Resumable,
    mut session: Session<EventSource>,
    start: Cursor,
    slot: WatchSlot,
) -> impl Stream<Item = Result<WatchEventsResponse, Status>> + Send {
    try_stream! {
        // Dropped with the stream, which ends the count of this watch.
        let _slot: WatchSlot = slot;
        yield message(&context, &resumable, start, Body::Started(started(&context, false)));
        loop {
            let (at, next) = session.next().await?;
            yield message(&context, &resumable, at, body(next)?);
        }
    }
}

fn message(context: &Context, resumable: &Resumable, at: Cursor, body: Body) -> WatchEventsResponse {
    let resume_token = resumable.token(context.sources.reader.identity(), ResumePoint::After(at));
    WatchEventsResponse { position: at.position, resume_token, message: Some(body) }
}

fn body(message: SessionMessage<EventBatch>) -> Result<Body, Refusal> {
    Ok(match message {
        SessionMessage::Batch(batch) => Body::EventBatch(batch),
        SessionMessage::CaughtUp => Body::CaughtUp(CaughtUp {}),
        SessionMessage::Heartbeat => Body::Heartbeat(Heartbeat {}),
        SessionMessage::GoingAway(going_away) => Body::GoingAway(going_away),
        // The log can always be read, so a watch of it never falls behind.
        SessionMessage::FellBehind => return Err(Refusal::Internal),
    })
}
