//! `AdminService`: the daemon's status, rejected deliveries, imports, readmissions and rebuilds of the views. Knows
//! nothing of how an import or a rebuild is done.
//!
//! `GetStatus` and `ListRejectedDeliveries` answer in every state. Imports and readmissions are refused at a shutdown,
//! and `RebuildViews` whenever queries of the state are.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use super::imports;
use crate::proto::admin_service_server::AdminService;
use crate::proto::{
    self, GetStatusRequest, GetStatusResponse, ImportEventsRequest, ImportEventsResponse,
    ListRejectedDeliveriesRequest, ListRejectedDeliveriesResponse, ReadmitEventsRequest, ReadmitEventsResponse,
    RebuildViewsRequest, RebuildViewsResponse, RejectedDelivery,
};
use crate::rejections::Rejected;
use crate::serve::limits::Caller;
use crate::serve::limits::scans::off_runtime;
use crate::serve::principal::Principal;
use crate::serve::read::Context;
use crate::serve::refusal::Refusal;
use crate::serve::serving_state::ServingState;
use crate::serve::wire::{self, IdentityText};

pub struct AdminRpc(pub Arc<Context>);

impl AdminRpc {
    fn status(&self) -> GetStatusResponse {
        let (state, state_reason) = describe(&self.0.sources.state.borrow());
        let IdentityText { log_id, epoch } = wire::identity(self.0.sources.reader.identity());
        let head = self.0.sources.reader.head();
        let views = self.0.published();
        GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: state.into(),
            state_reason,
            log_id,
            epoch,
            head_position: head.position,
            views_position: views.position(),
            head_recorded_at: (head.position > 0).then(|| wire::timestamp(head.recorded_at)),
            connections: views.connection_count() as u64,
            exports: views.export_count() as u64,
            watches: u32::try_from(self.0.watches_open()).unwrap_or(u32::MAX),
            started_at: Some(wire::timestamp(self.0.started_at)),
            views_lag: prost_types::Duration::try_from(views.lag(&head)).ok(),
            rebuild_position: self.0.sources.rebuild.reached(),
        }
    }
}

/// Returns the principal, if it may administer, and the request.
fn administrator<T>(request: Request<T>) -> Result<(Principal, T), Refusal> {
    let (principal, request) = Principal::of(request)?;
    if principal.administers() { Ok((principal, request)) } else { Err(Refusal::ScopeRequired("admin")) }
}

fn rejected(rejected: Rejected) -> RejectedDelivery {
    RejectedDelivery {
        rejected_at: Some(wire::timestamp(rejected.at)),
        endpoint: rejected.endpoint.map(|(name, _)| name).unwrap_or_default(),
        reason: rejected.reason.to_owned(),
        body_bytes: rejected.body_bytes as u64,
    }
}

/// Returns the state as the wire names it, and its reason.
fn describe(state: &ServingState) -> (proto::ServingState, String) {
    match state {
        ServingState::Serving => (proto::ServingState::Serving, String::new()),
        ServingState::CatchingUp { of } => {
            (proto::ServingState::CatchingUp, format!("the state is being rebuilt from the log, up to position {of}"))
        }
        ServingState::ReadOnly { reason } => (proto::ServingState::ReadOnly, reason.as_ref().to_owned()),
        ServingState::Stalled { position, reason } => {
            (proto::ServingState::Stalled, format!("the state cannot go past position {position}: {reason}"))
        }
        ServingState::Damaged { reason } => (proto::ServingState::Damaged, reason.as_ref().to_owned()),
        ServingState::ShuttingDown => (proto::ServingState::ShuttingDown, "the daemon was told to stop".to_owned()),
    }
}

#[tonic::async_trait]
impl AdminService for AdminRpc {
    async fn get_status(&self, request: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let (_principal, GetStatusRequest {}) = administrator(request)?;
        Ok(Response::new(self.status()))
    }

    async fn list_rejected_deliveries(
        &self,
        request: Request<ListRejectedDeliveriesRequest>,
    ) -> Result<Response<ListRejectedDeliveriesResponse>, Status> {
        let (principal, request) = administrator(request)?;
        let tenant = principal.tenant(&request.tenant)?;
        let deliveries = self.0.sources.rejections.of(&tenant).into_iter().map(rejected).collect();
        Ok(Response::new(ListRejectedDeliveriesResponse { deliveries }))
    }

    async fn import_events(
        &self,
        request: Request<Streaming<ImportEventsRequest>>,
    ) -> Result<Response<ImportEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (principal, requests) = Principal::of(request)?;
        Ok(Response::new(imports::import(&self.0, caller, principal, requests).await?))
    }

    async fn readmit_events(
        &self,
        request: Request<ReadmitEventsRequest>,
    ) -> Result<Response<ReadmitEventsResponse>, Status> {
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(imports::readmit(&self.0, principal, request).await?))
    }

    async fn rebuild_views(
        &self,
        request: Request<RebuildViewsRequest>,
    ) -> Result<Response<RebuildViewsResponse>, Status> {
        let (_principal, RebuildViewsRequest {}) = administrator(request)?;
        self.0.gate()?;
        let rebuild = self.0.sources.rebuild.clone();
        if let Err(error) = off_runtime(move || rebuild.start()).await? {
            tracing::error!(%error, "cannot start a rebuild of the views");
            return Err(Refusal::Internal.into());
        }
        Ok(Response::new(RebuildViewsResponse {}))
    }
}
