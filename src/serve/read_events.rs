//! `ReadEvents`: a walk along the log from one position to another, pulled part by part by whoever reads it.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use async_stream::try_stream;
use prost::Message as _;
use tokio_stream::Stream;
use tonic::Status;

use super::context::Context;
use super::convert;
use super::pages::{BYTES_MAX, VISITS_MAX};
use super::principal::Principal;
use super::status::Refusal;
use crate::event::{Event, Position};
use crate::log::{ReadError, Reader};
use crate::proto::{ModeVerdict, ReadEventsRequest, ReadEventsResponse};

const TYPES_MAX: usize = 20;

pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<ReadEventsResponse, Status>> + Send>>;

pub(super) fn open(context: &Arc<Context>, caller: Principal, request: ReadEventsRequest) -> Result<Messages, Refusal> {
    context.gate_of_the_log()?;
    let tenant = caller.tenant(&request.tenant)?;
    if request.types.len() > TYPES_MAX {
        return Err(Refusal::InvalidFilter { field: "types", problem: "more than 20 values" });
    }
    let head = context.reader.head().position;
    let walk = Walk {
        caller,
        tenant,
        types: request.types.into_iter().collect(),
        unreadable: request.unreadable,
        mismatched: request.mismatched,
        conflicting: request.conflicting,
        next: request.from_position.max(1),
        to: if request.to_position == 0 { head } else { request.to_position.min(head) },
    };
    Ok(Box::pin(messages(context.clone(), walk)))
}

fn messages(context: Arc<Context>, mut walk: Walk) -> impl Stream<Item = Result<ReadEventsResponse, Status>> + Send {
    try_stream! {
        while walk.next <= walk.to {
            context.gate_of_the_log()?;
            let part;
            (part, walk) = context.read(move |reader| Ok((walk.part(reader)?, walk))).await?;
            yield part;
        }
    }
}

struct Walk {
    caller: Principal,
    tenant: Arc<str>,
    /// Empty: any.
    types: BTreeSet<String>,
    unreadable: bool,
    mismatched: bool,
    conflicting: bool,
    next: Position,
    to: Position,
}

impl Walk {
    /// As much as a page of a list, so that a walk which finds nothing still tells how far it is.
    fn part(&mut self, reader: &Reader) -> Result<ReadEventsResponse, ReadError> {
        let (mut events, mut bytes, mut looked_at) = (Vec::new(), 0, 0);
        while self.next <= self.to && bytes < BYTES_MAX && looked_at < VISITS_MAX {
            let read = reader.read(self.next)?;
            for event in read.into_iter().take_while(|event| event.position <= self.to) {
                if bytes >= BYTES_MAX {
                    break;
                }
                self.next = event.position + 1;
                looked_at += 1;
                if let Some(event) = self.matching(event) {
                    bytes += event.encoded_len();
                    events.push(event);
                }
            }
        }
        Ok(ReadEventsResponse { events, position: self.next - 1 })
    }

    fn matching(&self, event: Event) -> Option<crate::proto::Event> {
        if event.delivery.tenant != *self.tenant {
            return None;
        }
        let event = convert::event(event, &self.caller);
        let wanted = (self.types.is_empty() || self.types.contains(&event.r#type))
            && (event.unreadable || !self.unreadable)
            && (event.mode_verdict() == ModeVerdict::Mismatched || !self.mismatched)
            && (event.conflict_of > 0 || !self.conflicting);
        wanted.then_some(event)
    }
}
