//! `ConnectionService`: each method goes from the request to one state and back. Knows nothing of how the state is
//! made.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{connection_events, connection_summary};
use crate::proto::connection_service_server::ConnectionService;
use crate::proto::{
    BatchGetConnectionsRequest, BatchGetConnectionsResponse, GetConnectionRequest, GetConnectionResponse,
    ListConnectionEventsRequest, ListConnectionEventsResponse, ListConnectionsRequest, ListConnectionsResponse,
    SummarizeConnectionsRequest, SummarizeConnectionsResponse, WatchConnectionsRequest,
};
use crate::serve::limits::{Caller, Cancellation};
use crate::serve::principal::Principal;
use crate::serve::query::{ConnectionFilter, FilterHasher, Order, PageToken, Scanned, Use, page_token, scan};
use crate::serve::read::{Context, as_of, consistency};
use crate::serve::refusal::Refusal;
use crate::serve::watch::connections::{self, ChangeFeeds, ConnectionMessages};
use crate::serve::wire;

/// Maximum number of ids in one request.
const BATCH_MAX: usize = 100;

pub struct ConnectionsRpc {
    pub context: Arc<Context>,
    pub feeds: Arc<ChangeFeeds>,
}

impl ConnectionsRpc {
    async fn get(
        &self,
        caller: Caller,
        principal: Principal,
        request: GetConnectionRequest,
    ) -> Result<GetConnectionResponse, Refusal> {
        self.context.gate()?;
        let realm = principal.realm(&request.tenant, request.api_mode)?;
        let (views, at) = as_of::views(&self.context, request.consistency.as_ref(), request.as_of.as_ref()).await?;
        let id = request.org_connection_id;
        let connection = if at == views.position() {
            views.connection(&realm, &id)
        } else {
            let scanned = views.clone();
            let look = move |cancellation: &Cancellation| {
                scanned.connection_at(&realm, &id, at, &|| cancellation.is_cancelled())
            };
            self.context.scans.run(caller, look).await??
        };
        let connection = connection.ok_or(Refusal::ConnectionNotFound)?;
        Ok(GetConnectionResponse {
            connection: Some(wire::connection(&connection)),
            position: at,
            read_token: self.context.token_at(&views, at).await?,
        })
    }

    async fn batch_get(
        &self,
        principal: Principal,
        request: BatchGetConnectionsRequest,
    ) -> Result<BatchGetConnectionsResponse, Refusal> {
        self.context.gate()?;
        let realm = principal.realm(&request.tenant, request.api_mode)?;
        let ids = request.org_connection_ids;
        if ids.len() > BATCH_MAX {
            return Err(Refusal::InvalidField { field: "org_connection_ids", problem: "more than 100 values" });
        }
        let views = consistency::views(&self.context, request.consistency.as_ref()).await?;
        let find = |(index, id): (usize, &String)| {
            let found = views.connection(&realm, id).ok_or(Refusal::ConnectionsNotFound(index))?;
            Ok(wire::connection(&found))
        };
        Ok(BatchGetConnectionsResponse {
            connections: ids.iter().enumerate().map(find).collect::<Result<_, Refusal>>()?,
            position: views.position(),
            read_token: self.context.read_token(&views),
        })
    }

    async fn list(
        &self,
        caller: Caller,
        principal: Principal,
        request: ListConnectionsRequest,
    ) -> Result<ListConnectionsResponse, Refusal> {
        self.context.gate()?;
        let realm = principal.realm(&request.tenant, request.api_mode)?;
        let filter = ConnectionFilter::read(request.filter, Use::List { now: (self.context.clock)() })?;
        let order = Order::of_connections(&request.order_by)?;
        let limits = page_token::limits(request.page_size)?;
        let mut hasher = FilterHasher::new("connections", &realm);
        hasher.add_log(self.context.sources.reader.identity());
        hasher.add_number(order.number());
        filter.hash_into(&mut hasher);
        let filter_hash = hasher.finish();
        let page_token = PageToken::read(&request.page_token, filter_hash, self.context.last_position())?;

        let views = consistency::page_views(&self.context, page_token.as_ref(), request.consistency.as_ref()).await?;
        let scanned = views.clone();
        let look = move |cancellation: &Cancellation| {
            let after = page_token.as_ref().map(PageToken::place);
            let scanned = Scanned { views: &scanned, realm: &realm, cancellation };
            scan::connections(scanned, &filter, order, after, limits)
        };
        let step = self.context.scans.run(caller, look).await??;
        Ok(ListConnectionsResponse {
            connections: step.rows,
            next_page_token: self.context.prepare_next_page(filter_hash, &views, step.next),
            position: views.position(),
            read_token: self.context.read_token(&views),
        })
    }
}

#[tonic::async_trait]
impl ConnectionService for ConnectionsRpc {
    type WatchConnectionsStream = ConnectionMessages;

    async fn get_connection(
        &self,
        request: Request<GetConnectionRequest>,
    ) -> Result<Response<GetConnectionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(self.get(caller, principal, request).await?))
    }

    async fn batch_get_connections(
        &self,
        request: Request<BatchGetConnectionsRequest>,
    ) -> Result<Response<BatchGetConnectionsResponse>, Status> {
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(self.batch_get(principal, request).await?))
    }

    async fn summarize_connections(
        &self,
        request: Request<SummarizeConnectionsRequest>,
    ) -> Result<Response<SummarizeConnectionsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(connection_summary::summarize(&self.context, caller, principal, request).await?))
    }

    async fn list_connections(
        &self,
        request: Request<ListConnectionsRequest>,
    ) -> Result<Response<ListConnectionsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(self.list(caller, principal, request).await?))
    }

    async fn list_connection_events(
        &self,
        request: Request<ListConnectionEventsRequest>,
    ) -> Result<Response<ListConnectionEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(connection_events::list(&self.context, caller, principal, request).await?))
    }

    async fn watch_connections(
        &self,
        request: Request<WatchConnectionsRequest>,
    ) -> Result<Response<ConnectionMessages>, Status> {
        let caller = Caller::of(&request)?;
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(connections::open(&self.context, &self.feeds, caller, principal, request).await?))
    }
}
