//! `ExportService`: each method goes from the request to one state and back. Knows nothing of how the state is made.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::proto::export_service_server::ExportService;
use crate::proto::{
    GetExportLinksRequest, GetExportLinksResponse, GetExportRequest, GetExportResponse, ListExportsRequest,
    ListExportsResponse,
};
use crate::serve::limits::scans::off_runtime;
use crate::serve::limits::{Caller, Cancellation};
use crate::serve::principal::Principal;
use crate::serve::query::{ExportFilter, FilterHasher, Order, PageToken, Scanned, page_token, scan};
use crate::serve::read::{Context, as_of, consistency};
use crate::serve::refusal::Refusal;
use crate::serve::wire;

pub struct ExportsRpc(pub Arc<Context>);

impl ExportsRpc {
    async fn get(
        &self,
        caller: Caller,
        principal: Principal,
        request: GetExportRequest,
    ) -> Result<GetExportResponse, Refusal> {
        self.0.gate()?;
        let realm = principal.realm(&request.tenant, request.api_mode)?;
        let (views, at) = as_of::views(&self.0, request.consistency.as_ref(), request.as_of.as_ref()).await?;
        let scanned = views.clone();
        let export = if at == views.position() {
            off_runtime(move || scanned.export(&realm, &request.task_id)).await??
        } else {
            let look = move |cancellation: &Cancellation| {
                scanned.export_at(&realm, &request.task_id, at, &|| cancellation.is_cancelled())
            };
            self.0.scans.run(caller, look).await??
        };
        let export = export.ok_or(Refusal::ExportNotFound)?;
        Ok(GetExportResponse {
            export: Some(wire::export(&export, &principal)),
            position: at,
            read_token: self.0.token_at(&views, at).await?,
        })
    }

    async fn links(
        &self,
        principal: Principal,
        request: GetExportLinksRequest,
    ) -> Result<GetExportLinksResponse, Refusal> {
        self.0.gate()?;
        let realm = principal.realm(&request.tenant, request.api_mode)?;
        if !principal.sees_links() {
            return Err(Refusal::ScopeRequired("exports.links"));
        }
        let views = consistency::views(&self.0, request.consistency.as_ref()).await?;
        let scanned = views.clone();
        let export = off_runtime(move || scanned.export(&realm, &request.task_id)).await??;
        let export = export.ok_or(Refusal::ExportNotFound)?.export;
        let now = (self.0.clock)();
        Ok(GetExportLinksResponse {
            links: export.links.iter().map(wire::link).collect(),
            deadline: export.deadline.map(wire::timestamp),
            expired: export.deadline.is_some_and(|deadline| deadline < now),
            position: views.position(),
            read_token: self.0.read_token(&views),
        })
    }

    async fn list(
        &self,
        caller: Caller,
        principal: Principal,
        request: ListExportsRequest,
    ) -> Result<ListExportsResponse, Refusal> {
        self.0.gate()?;
        let realm = principal.realm(&request.tenant, request.api_mode)?;
        let mut filter = ExportFilter::read(request.filter, (self.0.clock)())?;
        let order = Order::of_exports(&request.order_by)?;
        if order.is_by_deadline() && filter.query().deadlines.is_none() {
            let problem = "deadline orders only what filter.deadline_within finds";
            return Err(Refusal::InvalidField { field: "order_by", problem });
        }
        let limits = page_token::limits(request.page_size)?;
        let mut hasher = FilterHasher::new("exports", &realm);
        hasher.add_log(self.0.sources.reader.identity());
        hasher.add_number(order.number());
        filter.hash_into(&mut hasher);
        let filter_hash = hasher.finish();
        let page_token = PageToken::read(&request.page_token, filter_hash, self.0.last_position())?;
        if let Some(time) = filter.changed_after {
            filter.after_position = self.0.read(move |reader| reader.position_at(time)).await?;
        }

        let views = consistency::page_views(&self.0, page_token.as_ref(), request.consistency.as_ref()).await?;
        let scanned = views.clone();
        let look = move |cancellation: &Cancellation| {
            let after = page_token.as_ref().map(PageToken::place);
            let scanned = Scanned { views: &scanned, realm: &realm, cancellation };
            scan::exports(scanned, &filter, &principal, order, after, limits)
        };
        let step = self.0.scans.run(caller, look).await??;
        Ok(ListExportsResponse {
            exports: step.rows,
            next_page_token: self.0.prepare_next_page(filter_hash, &views, step.next),
            position: views.position(),
            read_token: self.0.read_token(&views),
        })
    }
}

#[tonic::async_trait]
impl ExportService for ExportsRpc {
    async fn get_export(&self, request: Request<GetExportRequest>) -> Result<Response<GetExportResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(self.get(caller, principal, request).await?))
    }

    async fn get_export_links(
        &self,
        request: Request<GetExportLinksRequest>,
    ) -> Result<Response<GetExportLinksResponse>, Status> {
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(self.links(principal, request).await?))
    }

    async fn list_exports(
        &self,
        request: Request<ListExportsRequest>,
    ) -> Result<Response<ListExportsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (principal, request) = Principal::of(request)?;
        Ok(Response::new(self.list(caller, principal, request).await?))
    }
}
