//! Who asks, and what they may see. Every handler takes a [`Principal`] and knows no other way to a tenant or a scope.

use std::sync::Arc;

use tonic::service::interceptor::InterceptorLayer;
use tonic::{Request, Status};

use super::asked;
use super::status::Refusal;
use crate::fold::Realm;

/// A right beyond that of seeing a tenant's state. Without it a field is left out, or a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `exports.links`: where exports can be downloaded.
    ExportsLinks,
    /// `events.raw`: bodies as they were received, and so all that is in them.
    EventsRaw,
    /// `events.write`: to import events, and to readmit them.
    EventsWrite,
    /// `admin`: how the daemon is, what it refused, and to rebuild the views.
    Admin,
}

/// A caller.
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

    /// Whoever reaches a loopback address or the socket: all configured tenants, all scopes.
    pub fn loopback(tenants: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self::new(tenants, &[Scope::ExportsLinks, Scope::EventsRaw, Scope::EventsWrite, Scope::Admin])
    }

    /// Whoever reaches an address where nobody is authenticated: the state of all configured tenants, and links.
    pub fn read_only(tenants: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self::new(tenants, &[Scope::ExportsLinks])
    }

    /// The caller of a request, and the request.
    pub(super) fn of<T>(mut request: Request<T>) -> Result<(Self, T), Refusal> {
        let principal = request.extensions_mut().remove().ok_or(Refusal::Unauthenticated)?;
        Ok((principal, request.into_inner()))
    }

    /// The tenant that is named, or, if none is, the only one there is.
    pub(super) fn tenant(&self, named: &str) -> Result<Arc<str>, Refusal> {
        match (named, &*self.tenants) {
            ("", [only]) => Ok(only.clone()),
            ("", _) => Err(Refusal::TenantRequired),
            (named, tenants) => {
                tenants.iter().find(|tenant| ***tenant == *named).cloned().ok_or(Refusal::PermissionDenied)
            }
        }
    }

    /// As [`Self::tenant`], with the request's `api_mode`.
    pub(super) fn realm(&self, tenant: &str, mode: i32) -> Result<Realm, Refusal> {
        Ok(Realm { tenant: self.tenant(tenant)?, mode: asked::mode(mode)? })
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

/// Makes every request one of this caller.
pub(super) fn everyone_is(
    principal: Principal,
) -> InterceptorLayer<impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone> {
    InterceptorLayer::new(move |mut request: Request<()>| {
        request.extensions_mut().insert(principal.clone());
        Ok(request)
    })
}
