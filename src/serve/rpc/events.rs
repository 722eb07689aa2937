//! `EventService`: events, and the head. Reads the log itself; knows nothing of the views.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::read_events::{self, EventParts};
use crate::event::{BodySummary, EventKey};
use crate::proto::event_service_server::EventService;
use crate::proto::get_event_request::Event as RequestedEvent;
use crate::proto::{
    GetEventRequest, GetEventResponse, GetHeadRequest, GetHeadResponse, ReadEventsRequest, WatchEventsRequest,
};
use crate::serve::limits::Caller;
use crate::serve::principal::Principal;
use crate::serve::read::Context;
use crate::serve::refusal::Refusal;
use crate::serve::watch::events::{self, EventFeeds, EventMessages};
use crate::serve::wire::{self, IdentityText};
use crate::token::Token;

/// Memory that one event may hold until it becomes an answer, which is charged by its own size.
const EVENT_BYTES: usize = 512 * 1024;

pub struct EventsRpc {
    pub context: Arc<Context>,
    pub feeds: Arc<EventFeeds>,
}

impl EventsRpc {
    async fn get(
        &self,
        caller: Caller,
        principal: Principal,
        request: GetEventRequest,
    ) -> Result<GetEventResponse, Refusal> {
        self.context.gate_of_the_log()?;
        let tenant = principal.tenant(&request.tenant)?;
        let missing = Refusal::InvalidField { field: "event", problem: "neither a position nor an event key" };
        let requested = request.event.ok_or(missing)?;
        let owner = tenant.clone();
        let _bytes = self.context.inflight.reserve(caller, EVENT_BYTES).map_err(|_| Refusal::InflightBytesFull)?;
        let read = self.context.read(move |reader| match requested {
            RequestedEvent::Position(position) => reader.get(position),
            RequestedEvent::EventKey(key) => reader.find(&owner, &EventKey::from_text(key)),
        });
        let event = read.await?.ok_or(Refusal::EventNotFound)?;
        // Another tenant's event counts as missing.
        if event.delivery.tenant != *tenant {
            return Err(Refusal::EventNotFound);
        }
        let (position, read_token) = self.context.head();
        let summary = BodySummary::read(&event.delivery.body);
        let event = wire::event(event, summary, &principal);
        Ok(GetEventResponse { event: Some(event), position, read_token })
    }

    fn head(&self) -> GetHeadResponse {
        let head = self.context.sources.reader.head();
        let identity = self.context.sources.reader.identity();
        let IdentityText { log_id, epoch } = wire::identity(identity);
        GetHeadResponse {
            log_id,
            epoch,
            position: head.position,
            chain_hash: head.chain.to_vec(),
            read_token: Token::read(identity, head.cursor()).encode(),
        }
    }
}

#[tonic::async_trait]
impl EventService for EventsRpc {
    type ReadEventsStream = EventParts;
    type WatchEventsStream = EventMessages;

    async fn get_event(&self, request: Request<GetEventRequest>) -> Result<Response<GetEventResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(self.get(caller, principal, request).await?))
    }

    async fn read_events(&self, request: Request<ReadEventsRequest>) -> Result<Response<EventParts>, Status> {
        let caller = Caller::of(&request)?;
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(read_events::open(&self.context, caller, principal, request)?))
    }

    async fn watch_events(&self, request: Request<WatchEventsRequest>) -> Result<Response<EventMessages>, Status> {
        let caller = Caller::of(&request)?;
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(events::open(&self.context, &self.feeds, caller, principal, request).await?))
    }

    async fn get_head(&self, request: Request<GetHeadRequest>) -> Result<Response<GetHeadResponse>, Status> {
        let (_principal, GetHeadRequest {}) = Principal::of(request)?;
        Ok(Response::new(self.head()))
    }
}
