//! `ListConnectionEvents`: walks from a connection's newest event back to its first. Knows nothing of how history is
//! stored.

use std::sync::Arc;

use prost::Message;

use crate::event::{Envelope, Position};
use crate::fold::{Change, Moment, Realm, Views};
use crate::log::Reader;
use crate::proto::{ConnectionEvent, ListConnectionEventsRequest, ListConnectionEventsResponse};
use crate::serve::limits::{Caller, Cancellation};
use crate::serve::principal::Principal;
use crate::serve::query::{FilterHasher, PageToken, ScanLimits, page_token};
use crate::serve::read::{Context, consistency};
use crate::serve::refusal::Refusal;
use crate::serve::wire;

pub async fn list(
    context: &Context,
    caller: Caller,
    principal: Principal,
    request: ListConnectionEventsRequest,
) -> Result<ListConnectionEventsResponse, Refusal> {
    context.gate()?;
    let realm = principal.realm(&request.tenant, request.api_mode)?;
    let limits = page_token::limits(request.page_size)?;
    let mut hasher = FilterHasher::new("connection events", &realm);
    hasher.add_log(context.sources.reader.identity());
    hasher.add_text(&request.org_connection_id);
    let filter_hash = hasher.finish();
    let page_token = PageToken::read(&request.page_token, filter_hash, context.last_position())?;
    let views = consistency::views(context, request.consistency.as_ref()).await?;

    let id = request.org_connection_id;
    let start = match &page_token {
        Some(token) => page_start(token)?,
        None => views.connection(&realm, &id).ok_or(Refusal::ConnectionNotFound)?.lineage.last.position,
    };
    // The page token may come from newer views than these. The walk needs views that have reached its position.
    let reached = consistency::views_at_least(context, start, request.consistency.as_ref()).await?;
    let is_resumed = page_token.is_some();
    let walk = HistoryWalk { views: reached, reader: context.sources.reader.clone(), realm, id, principal };
    let look = move |cancellation: &Cancellation| {
        if is_resumed && !walk.views.is_changed_at(&walk.realm, &walk.id, start)? {
            return Err(Refusal::InvalidPageToken("its place is not one of this connection's events"));
        }
        walk.back_from(start, limits, cancellation)
    };
    let (events, next) = context.scans.run(caller, look).await??;
    let next_page_token =
        |next: Position| PageToken { filter_hash, position: views.position(), rank: 0, last: next.to_string() };
    Ok(ListConnectionEventsResponse {
        events,
        next_page_token: next.map_or_else(String::new, |next| next_page_token(next).encode()),
        position: views.position(),
        read_token: context.read_token(&views),
    })
}

/// Returns the position of the page's first event. The views of the previous page had reached it.
fn page_start(token: &PageToken) -> Result<Position, Refusal> {
    let start = token.last.parse().ok().filter(|start| (1..=token.position).contains(start));
    start.ok_or(Refusal::InvalidPageToken("it tells no place"))
}

struct HistoryWalk {
    views: Arc<Views>,
    reader: Reader,
    realm: Realm,
    id: String,
    principal: Principal,
}

impl HistoryWalk {
    /// Returns the events from `start` backwards, and where the next page begins. Ends early when cancelled.
    fn back_from(
        &self,
        start: Position,
        limits: ScanLimits,
        cancellation: &Cancellation,
    ) -> Result<(Vec<ConnectionEvent>, Option<Position>), Refusal> {
        let mut events = Vec::new();
        let mut bytes = 0;
        let mut next = Some(start);
        while let Some(position) = next {
            if events.len() >= limits.rows || bytes >= limits.bytes || cancellation.is_cancelled() {
                break;
            }
            let moment = self.views.moment(&self.realm, &self.id, position)?;
            next = moment.previous.as_ref().map(|previous| previous.lineage.last.position);
            let event = self.event(position, &moment)?;
            bytes += event.encoded_len();
            events.push(event);
        }
        Ok((events, next))
    }

    fn event(&self, position: Position, moment: &Moment) -> Result<ConnectionEvent, Refusal> {
        let event = self.reader.get(position)?.ok_or(Refusal::EventNotFound)?;
        let exports = moment.changes.changes.iter().filter_map(|change| match change {
            Change::Export { current, .. } => Some(wire::export(current, &self.principal)),
            Change::Connection { .. } => None,
        });
        Ok(ConnectionEvent {
            position,
            recorded_at: Some(wire::timestamp(event.recorded_at)),
            event_key: event.delivery.key.as_ref().map_or_else(String::new, |key| key.as_str().to_owned()),
            r#type: Envelope::read(&event.delivery.body).kind.map(Into::into).unwrap_or_default(),
            connection: Some(wire::connection(&moment.connection)),
            exports: exports.collect(),
            late: moment.connection.last_was_late,
        })
    }
}
