//! The stream of one `WatchConnections`: its request, checked, and its messages. Knows nothing of how changes are
//! stored.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use tokio_stream::Stream;
use tonic::Status;

use super::feeds::ChangeFeeds;
use super::query::{Kinds, Query};
use super::snapshot::Snapshot;
use super::source::ChangeSource;
use crate::event::Position;
use crate::fold::FOLD_VERSION;
use crate::proto::watch_connections_response::Message as Body;
use crate::proto::{
    CaughtUp, ChangeBatch, FellBehind, Heartbeat, SnapshotBatch, WatchConnectionsRequest, WatchConnectionsResponse,
    WatchKind,
};
use crate::serve::limits::Caller;
use crate::serve::principal::Principal;
use crate::serve::query::filter;
use crate::serve::query::{ConnectionFilter, ExportFilter, FilterHasher, Use};
use crate::serve::read::{Context, WatchSlot};
use crate::serve::refusal::Refusal;
use crate::serve::serving_state::ServingState;
use crate::serve::watch::shared::{
    Lifecycle, Resumable, ResumePoint, Session, SessionMessage, Start, lifecycle, start,
};

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
    let request = WatchRequest::read(principal, request)?;
    let slot = context.take_watch_slot(caller)?;
    let views = context.views()?;
    let start = start::find(context, &request.resumable, &views, start).await?;
    Ok(Box::pin(messages(context.clone(), feeds.clone(), caller, request, slot, start)))
}

/// Request of a watch, checked, without its start.
pub struct WatchRequest {
    pub query: Arc<Query>,
    resumable: Resumable,
    heartbeat: Duration,
}

impl WatchRequest {
    pub fn read(principal: Principal, request: WatchConnectionsRequest) -> Result<Self, Refusal> {
        let realm = principal.realm(&request.tenant, request.api_mode)?;
        let mut filter = request.filter.unwrap_or_default();
        let event_types = filter::texts("filter.event_types", std::mem::take(&mut filter.event_types))?;
        let connection = ConnectionFilter::read(Some(filter), Use::Watch)?;
        let kinds = kinds(&request.kinds)?;
        let mut hasher = FilterHasher::new("watch", &realm);
        connection.hash_into(&mut hasher);
        hasher.add_texts(&event_types);
        hasher.add_number(u64::from(kinds.connections) | u64::from(kinds.exports) << 1);
        let resumable = Resumable { filter_hash: hasher.finish(), fold_version: FOLD_VERSION };
        let WatchConnectionsRequest { include_previous, include_event, heartbeat_interval, .. } = request;
        let filter = ExportFilter::of(connection);
        let query = Query { principal, realm, filter, kinds, include_previous, include_event, event_types };
        Ok(Self { query: Arc::new(query), resumable, heartbeat: lifecycle::heartbeat(heartbeat_interval)? })
    }
}

/// Reads the kinds to watch. Both if none is named.
fn kinds(named: &[i32]) -> Result<Kinds, Refusal> {
    let mut kinds = Kinds { connections: named.is_empty(), exports: named.is_empty() };
    for kind in named {
        match WatchKind::try_from(*kind) {
            Ok(WatchKind::Connection) => kinds.connections = true,
            Ok(WatchKind::Export) => kinds.exports = true,
            Ok(WatchKind::Unspecified) | Err(_) => {
                return Err(Refusal::InvalidField { field: "kinds", problem: "a value has no meaning" });
            }
        }
    }
    Ok(kinds)
}

fn messages(
    context: Arc<Context>,
    feeds: Arc<ChangeFeeds>,
    caller: Caller,
    request: WatchRequest,
    slot: WatchSlot,
    start: Start,
) -> impl Stream<Item = Result<WatchConnectionsResponse, Status>> + Send {
    try_stream! {
        let views = match context.views() {
            // A shutdown since the watch was opened is announced like any other.
            Err(Refusal::ShuttingDown) => context.readable()?,
            views => views?,
        };
        let (start, has_snapshot) = match start {
            Start::After(at) => (at, false),
            Start::Live => (views.cursor(), false),
            Start::Snapshot => (views.cursor(), true),
        };
        let lifecycle = Lifecycle::begin(&context, &slot, request.heartbeat, ServingState::ends_watches);
        let source = ChangeSource::of(&context, caller, &request.query);
        let mut session = Session::new(source, &feeds, &request.query, lifecycle, start);
        // The views go on loan or are dropped before anything waits for the reader.
        let snapshot = has_snapshot.then(|| Snapshot::of(&context, caller, &request.query, views));
        let resume = if has_snapshot { ResumePoint::Snapshot } else { ResumePoint::After(start) };
        let started = Body::Started(start::started(&context, has_snapshot));
        yield message(&context, &request, start.position, resume, started);
        if let Some(mut snapshot) = snapshot {
            while !(snapshot.ended() || session.is_ending()) {
                let part = {
                    let mut next = pin!(snapshot.next());
                    loop {
                        if let Some(part) = session.wait_for_part(next.as_mut()).await.transpose() {
                            break part;
                        }
                        // A heartbeat would claim that everything up to its position has been sent.
                        let empty = Body::SnapshotBatch(SnapshotBatch::default());
                        yield message(&context, &request, start.position, ResumePoint::Snapshot, empty);
                    }
                };
                let (resume, body) = match part {
                    Ok(part) if snapshot.ended() => (ResumePoint::After(start), part),
                    Ok(part) => (ResumePoint::Snapshot, part),
                    Err(refusal) => {
                        let (_, going_away) = session.end(refusal)?;
                        (ResumePoint::Snapshot, body(going_away))
                    }
                };
                yield message(&context, &request, start.position, resume, body);
            }
        }
        loop {
            let (at, next) = session.next().await?;
            yield message(&context, &request, at.position, ResumePoint::After(at), body(next));
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
    request: &WatchRequest,
    position: Position,
    resume: ResumePoint,
    body: Body,
) -> WatchConnectionsResponse {
    let resume_token = request.resumable.token(context.sources.reader.identity(), resume);
    WatchConnectionsResponse { position, resume_token, message: Some(body) }
}
