//! The stream of one `WatchConnections`. Knows nothing of how changes are stored.

use std::pin::{Pin, pin};
use std::sync::Arc;

use async_stream::try_stream;
use tokio_stream::Stream;
use tonic::Status;

use super::feeds::ChangeFeeds;
use super::request::WatchRequest;
use super::snapshot::Snapshot;
use super::source::ChangeSource;
use crate::event::Position;
use crate::proto::watch_connections_response::Message as Body;
use crate::proto::{
    CaughtUp, ChangeBatch, FellBehind, Heartbeat, SnapshotBatch, WatchConnectionsRequest, WatchConnectionsResponse,
};
use crate::serve::limits::Caller;
use crate::serve::principal::Principal;
use crate::serve::read::{Context, WatchSlot};
use crate::serve::refusal::Refusal;
use crate::serve::serving_state::ServingState;
use crate::serve::watch::shared::{Lifecycle, ResumePoint, Session, SessionMessage, Start, start};

pub type ConnectionMessages = Pin<Box<dyn Stream<Item = Result<WatchConnectionsResponse, Status>> + Send>>;

pub async fn open(
    context: &Arc<Context>,
    feeds: &Arc<ChangeFeeds>,
    caller: Caller,
    principal: Principal,
    mut request: WatchConnectionsRequest,
) -> Result<ConnectionMessages, Refusal> {
    context.gate()?;
    let start = request.start.take();
    let plan = WatchRequest::read(principal, request)?;
    let slot = context.take_watch_slot(caller)?;
    let views = context.views()?;
    let start = start::find(context, &plan.resumable, &views, start).await?;
    Ok(Box::pin(messages(context.clone(), feeds.clone(), caller, plan, slot, start)))
}

fn messages(
    context: Arc<Context>,
    feeds: Arc<ChangeFeeds>,
    caller: Caller,
    plan: WatchRequest,
    slot: WatchSlot,
    start: Start,
) -> impl Stream<Item = Result<WatchConnectionsResponse, Status>> + Send {
    try_stream! {
        let views = match context.views() {
            // A shutdown since the watch was opened is announced like any other.
            Err(Refusal::ShuttingDown) => context.readable()?,
            views => views?,
        };
        let (start, snapshot) = match start {
            Start::After(at) => (at, false),
            Start::Live => (views.cursor(), false),
            Start::Snapshot => (views.cursor(), true),
        };
        let life = Lifecycle::begin(&context, &slot, plan.heartbeat, ServingState::ends_watches);
        let mut live = Session::new(ChangeSource::of(&context, caller, &plan.query), &feeds, &plan.query, life, start);
        // The views go on loan or are dropped before anything waits for the reader.
        let snapshot = snapshot.then(|| Snapshot::of(&context, caller, &plan.query, views));
        let resume = if snapshot.is_some() { ResumePoint::Snapshot } else { ResumePoint::After(start) };
        yield message(&context, &plan, start.position, resume, Body::Started(start::started(&context, snapshot.is_some())));
        if let Some(mut snapshot) = snapshot {
            while !(snapshot.ended() || live.is_ending()) {
                let part = {
                    let mut next = pin!(snapshot.next());
                    loop {
                        if let Some(part) = live.wait_for_part(next.as_mut()).await.transpose() {
                            break part;
                        }
                        // A heartbeat would claim that everything up to its position has been sent.
                        let nothing = Body::SnapshotBatch(SnapshotBatch::default());
                        yield message(&context, &plan, start.position, ResumePoint::Snapshot, nothing);
                    }
                };
                let (resume, body) = match part {
                    Ok(part) => (if snapshot.ended() { ResumePoint::After(start) } else { ResumePoint::Snapshot }, part),
                    Err(refusal) => (ResumePoint::Snapshot, body(live.end(refusal)?.1)),
                };
                yield message(&context, &plan, start.position, resume, body);
            }
        }
        loop {
            let (at, next) = live.next().await?;
            yield message(&context, &plan, at.position, ResumePoint::After(at), body(next));
        }
    }
}

fn body(message: SessionMessage<ChangeBatch>) -> Body {
    match message {
        SessionMessage::Batch(batch) => Body::ChangeBatch(batch),
        SessionMessage::CaughtUp => Body::CaughtUp(CaughtUp {}),
        SessionMessage::FellBehind => Body::FellBehind(FellBehind {}),
        SessionMessage::Heartbeat => Body::Heartbeat(Heartbeat {}),
        SessionMessage::GoingAway(going_away) => Body::GoingAway(going_away),
    }
}

fn message(
    context: &Context,
    plan: &WatchRequest,
    position: Position,
    resume: ResumePoint,
    body: Body,
) -> WatchConnectionsResponse {
    let resume_token = plan.resumable.token(context.reader.identity(), resume);
    WatchConnectionsResponse { position, resume_token, message: Some(body) }
}
