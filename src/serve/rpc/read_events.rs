//! `ReadEvents`: a walk along the log from one position to another, pulled part by part by its reader. Knows nothing of
//! the views.

use std::pin::Pin;
use std::sync::Arc;

use async_stream::try_stream;
use prost::Message as _;
use tokio_stream::Stream;
use tonic::Status;

use crate::event::Position;
use crate::log::{ReadError, Reader, Selection};
use crate::proto::{ReadEventsRequest, ReadEventsResponse};
use crate::serve::limits::scans::yield_to_sender;
use crate::serve::limits::{Caller, Cancellation};
use crate::serve::principal::Principal;
use crate::serve::query::EventFilter;
use crate::serve::query::page_token::{BYTES_MAX, VISITS_MAX};
use crate::serve::read::Context;
use crate::serve::refusal::Refusal;

pub type EventParts = Pin<Box<dyn Stream<Item = Result<ReadEventsResponse, Status>> + Send>>;

pub fn open(
    context: &Arc<Context>,
    caller: Caller,
    principal: Principal,
    request: ReadEventsRequest,
) -> Result<EventParts, Refusal> {
    context.gate_of_the_log()?;
    let head = context.sources.reader.head().position;
    let walk = LogWalk {
        filter: EventFilter::read(principal, &request.tenant, request.filter)?,
        next: request.from_position.max(1),
        to: if request.to_position == 0 { head } else { request.to_position.min(head) },
    };
    Ok(Box::pin(messages(context.clone(), caller, walk)))
}

fn messages(
    context: Arc<Context>,
    caller: Caller,
    mut walk: LogWalk,
) -> impl Stream<Item = Result<ReadEventsResponse, Status>> + Send {
    try_stream! {
        while walk.next <= walk.to {
            yield_to_sender().await;
            context.gate_of_the_log()?;
            let reader = context.sources.reader.clone();
            let read = move |cancellation: &Cancellation| (walk.read_part(&reader, cancellation), walk);
            let (part, advanced) = context.scans.run(caller, read).await?;
            walk = advanced;
            let part = part.map_err(Context::report_unreadable)?;
            yield part;
        }
    }
}

struct LogWalk {
    filter: EventFilter,
    next: Position,
    to: Position,
}

impl LogWalk {
    /// Reads one part, bounded like a page of a list. A walk that finds nothing still reports its progress.
    fn read_part(&mut self, reader: &Reader, cancellation: &Cancellation) -> Result<ReadEventsResponse, ReadError> {
        let mut events = Vec::new();
        let mut bytes = 0;
        let first = self.next;
        let visited_max = first.saturating_add(VISITS_MAX as u64);
        while self.next <= self.to && self.next < visited_max && bytes < BYTES_MAX && !cancellation.is_cancelled() {
            let selected = reader.select(self.next, self.to, |header| self.filter.may_match(header));
            let selection = match selected {
                // Events before the damage are sent; the next part reports the damage.
                Err(_) if self.next > first => break,
                selected => selected?,
            };
            let Some(Selection { events: selected, through, .. }) = selection else {
                // Only a gap is left.
                self.next = self.to + 1;
                break;
            };
            self.next = through + 1;
            for event in selected {
                if bytes >= BYTES_MAX {
                    self.next = event.position;
                    break;
                }
                if let Some(event) = self.filter.matching(event) {
                    bytes += event.encoded_len();
                    events.push(event);
                }
            }
        }
        Ok(ReadEventsResponse { events, position: self.next - 1 })
    }
}
