//! `WatchConnections`: a stream that its reader pulls message by message. Knows nothing of how changes are stored.
//!
//! ```text
//!   Started ─▶ [SnapshotBatch.. ─▶ SnapshotEnd] ─▶ { ChangeBatch | CaughtUp | Heartbeat }.. ─▶ [GoingAway] ─▶ status
//! ```
//!
//! Between two messages it holds no state but a position, and never more than a few changes. A slow reader costs others
//! nothing, and is notified when the changes it has not seen are no longer in memory.

mod change_feeds;
mod changes;
mod event_feeds;
mod events;
mod feed;
mod feeds;
mod life;
mod live;
mod plan;
#[cfg(feature = "planted-bugs")]
mod planted;
mod query;
mod render;
mod snapshot;
mod start;
#[cfg(test)]
mod tests;

use std::pin::{Pin, pin};
use std::sync::Arc;

use async_stream::try_stream;
use tokio_stream::Stream;
use tonic::Status;

pub(super) use self::change_feeds::ChangeFeeds;
use self::changes::Changes;
pub(super) use self::event_feeds::EventFeeds;
pub(super) use self::events::{EventMessages, open as open_events};
use self::life::Life;
use self::live::{Live, Told};
use self::plan::Plan;
use self::snapshot::Snapshot;
use self::start::Start;
use super::caller::Caller;
use super::context::{Context, WatchSlot};
use super::convert;
use super::principal::Principal;
use super::state::ServingState;
use super::status::Refusal;
use crate::event::{Hash, Position};
use crate::fold::Views;
use crate::proto::watch_connections_response::Message as Body;
use crate::proto::{
    CaughtUp, ChangeBatch, FellBehind, Heartbeat, SnapshotBatch, WatchConnectionsRequest, WatchConnectionsResponse,
    WatchStarted,
};
use crate::token::{ChainPrefix, chain_prefix};

pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<WatchConnectionsResponse, Status>> + Send>>;

/// Progress of a watch: everything up to here has been sent.
#[derive(Clone, Copy, PartialEq, Eq)]
struct At {
    position: Position,
    chain: ChainPrefix,
}

impl At {
    /// Marker inside a snapshot. Resuming from it starts again, with a snapshot.
    const NOTHING: At = At { position: 0, chain: [0xff; 8] };
    /// Progress before the first event.
    const BEGINNING: At = At { position: 0, chain: [0; 8] };

    /// Returns the progress at a position. `chain` is the hash chain's value there.
    fn new(position: Position, chain: &Hash) -> Self {
        Self { position, chain: chain_prefix(chain) }
    }

    fn of(views: &Views) -> Self {
        Self::new(views.position(), &views.chain())
    }
}

pub(super) async fn open(
    context: &Arc<Context>,
    feeds: &Arc<ChangeFeeds>,
    caller: Caller,
    principal: Principal,
    mut request: WatchConnectionsRequest,
) -> Result<Messages, Refusal> {
    context.gate()?;
    #[cfg(feature = "planted-bugs")]
    planted::admit(context, &mut request.start).await?;
    let start = request.start.take();
    let plan = Plan::read(principal, request)?;
    let slot = context.take_watch_slot(caller)?;
    let views = context.views()?;
    let start = start::find(context, &plan.resumable, &views, start).await?;
    #[cfg(feature = "planted-bugs")]
    let resumable = plan.resumable;
    let messages: Messages = Box::pin(messages(context.clone(), feeds.clone(), caller, plan, slot, start));
    #[cfg(feature = "planted-bugs")]
    let messages = planted::spoil(context.clone(), resumable, messages);
    Ok(messages)
}

fn messages(
    context: Arc<Context>,
    feeds: Arc<ChangeFeeds>,
    caller: Caller,
    plan: Plan,
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
            Start::Live => (At::of(&views), false),
            Start::Snapshot => (At::of(&views), true),
        };
        let life = Life::begin(&context, &slot, plan.heartbeat, ServingState::ends_watches);
        let mut live = Live::new(Changes::of(&context, caller, &plan.query), &feeds, &plan.query, life, start);
        // The views go on loan or are dropped before anything waits for the reader.
        let snapshot = snapshot.then(|| Snapshot::of(&context, caller, &plan.query, views));
        let resume = if snapshot.is_some() { At::NOTHING } else { start };
        yield message(&context, &plan, start.position, resume, Body::Started(started(&context, snapshot.is_some())));
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
                        yield message(&context, &plan, start.position, At::NOTHING, nothing);
                    }
                };
                let (resume, body) = match part {
                    Ok(part) => (if snapshot.ended() { start } else { At::NOTHING }, part),
                    Err(refusal) => (At::NOTHING, body(live.end(refusal)?.1)),
                };
                yield message(&context, &plan, start.position, resume, body);
            }
        }
        loop {
            let (at, told) = live.next().await?;
            yield message(&context, &plan, at.position, at, body(told));
        }
    }
}

fn body(told: Told<ChangeBatch>) -> Body {
    match told {
        Told::Batch(batch) => Body::ChangeBatch(batch),
        Told::CaughtUp => Body::CaughtUp(CaughtUp {}),
        Told::FellBehind => Body::FellBehind(FellBehind {}),
        Told::Heartbeat => Body::Heartbeat(Heartbeat {}),
        Told::GoingAway(going_away) => Body::GoingAway(going_away),
    }
}

fn started(context: &Context, snapshot: bool) -> WatchStarted {
    let (log_id, epoch) = convert::identity(context.reader.identity());
    WatchStarted { log_id, epoch, snapshot }
}

fn message(context: &Context, plan: &Plan, position: Position, resume: At, body: Body) -> WatchConnectionsResponse {
    let resume_token = plan.resumable.token(context.reader.identity(), resume);
    WatchConnectionsResponse { position, resume_token, message: Some(body) }
}
