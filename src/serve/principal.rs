//! The tenants and scopes of a caller. Every handler takes a [`Principal`] and knows no other way to a tenant or a
//! scope. Knows nothing of how a caller is authenticated.

use std::sync::Arc;

use tonic::service::interceptor::InterceptorLayer;
use tonic::{Request, Status};

use super::refusal::Refusal;
use crate::event::ApiMode;
use crate::fold::Realm;
use crate::proto;

/// A right beyond seeing a tenant's state. Without it a field is left out, or a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `exports.links`: download links of exports.
    ExportsLinks,
    /// `events.raw`: bodies as they were received, with everything in them.
    EventsRaw,
    /// `events.write`: importing and readmitting events.
    EventsWrite,
    /// `admin`: the daemon's status, the deliveries it rejected, and rebuilds of the views.
    Admin,
}

/// Tenants and scopes of a caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    tenants: Arc<[Arc<str>]>,
    scopes: Arc<[Scope]>,
}

impl Principal {
    pub fn new(tenants: impl IntoIterator<Item = Arc<str>>, scopes: &[Scope]) -> Self {
        let mut tenants: Vec<_> = tenants.into_iter().collect();
        tenants.sort();
        tenants.dedup();
        Self { tenants: tenants.into(), scopes: scopes.into() }
    }

    /// Returns the principal of every caller at a loopback address or the socket: all configured tenants, all scopes.
    pub fn loopback(tenants: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self::new(tenants, &[Scope::ExportsLinks, Scope::EventsRaw, Scope::EventsWrite, Scope::Admin])
    }

    /// Returns the principal of every caller at an address without authentication: the state of all configured tenants,
    /// and links.
    pub fn read_only(tenants: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self::new(tenants, &[Scope::ExportsLinks])
    }

    /// Returns the principal of a request, and the request.
    pub(super) fn of<T>(mut request: Request<T>) -> Result<(Self, T), Refusal> {
        let principal = request.extensions_mut().remove().ok_or(Refusal::Unauthenticated)?;
        Ok((principal, request.into_inner()))
    }

    /// Returns the named tenant or, if none is named, the only one.
    pub(super) fn tenant(&self, named: &str) -> Result<Arc<str>, Refusal> {
        match (named, &*self.tenants) {
            ("", [only]) => Ok(only.clone()),
            ("", _) => Err(Refusal::TenantRequired),
            (named, tenants) => {
                tenants.iter().find(|tenant| ***tenant == *named).cloned().ok_or(Refusal::PermissionDenied)
            }
        }
    }

    /// Like [`Self::tenant`], but with the request's `api_mode`.
    pub(super) fn realm(&self, tenant: &str, mode: i32) -> Result<Realm, Refusal> {
        Ok(Realm { tenant: self.tenant(tenant)?, mode: api_mode(mode)? })
    }

    pub(super) fn sees_links(&self) -> bool {
        self.scopes.contains(&Scope::ExportsLinks) || self.sees_bodies()
    }

    pub(super) fn writes_events(&self) -> bool {
        self.scopes.contains(&Scope::EventsWrite)
    }

    pub(super) fn administers(&self) -> bool {
        self.scopes.contains(&Scope::Admin)
    }

    pub(super) fn sees_bodies(&self) -> bool {
        self.scopes.contains(&Scope::EventsRaw)
    }
}

/// Returns a layer that gives every request this principal.
pub(super) fn principal_layer(
    principal: Principal,
) -> InterceptorLayer<impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone> {
    InterceptorLayer::new(move |mut request: Request<()>| {
        request.extensions_mut().insert(principal.clone());
        Ok(request)
    })
}

/// Returns the mode that a request asks for. An unspecified mode means live.
fn api_mode(mode: i32) -> Result<ApiMode, Refusal> {
    match proto::ApiMode::try_from(mode) {
        Ok(proto::ApiMode::Unspecified | proto::ApiMode::Live) => Ok(ApiMode::Live),
        Ok(proto::ApiMode::Test) => Ok(ApiMode::Test),
        Err(_) => Err(Refusal::InvalidField { field: "api_mode", problem: "no such mode" }),
    }
}
