//! Plan of a watch: its request, checked. Knows nothing of where the watch starts.

use std::sync::Arc;
use std::time::Duration;

use super::query::{Kinds, Query};
use crate::fold::FOLD_VERSION;
use crate::proto::{WatchConnectionsRequest, WatchKind};
use crate::serve::principal::Principal;
use crate::serve::query::filter;
use crate::serve::query::{ConnectionFilter, ExportFilter, FilterHasher, Use};
use crate::serve::refusal::Refusal;
use crate::serve::watch::shared::{Resumable, lifecycle};

pub struct WatchRequest {
    pub query: Arc<Query>,
    pub resumable: Resumable,
    pub heartbeat: Duration,
}

impl WatchRequest {
    pub fn read(caller: Principal, request: WatchConnectionsRequest) -> Result<Self, Refusal> {
        let realm = caller.realm(&request.tenant, request.api_mode)?;
        let mut filter = request.filter.unwrap_or_default();
        let event_types = filter::texts("filter.event_types", std::mem::take(&mut filter.event_types))?;
        let connection = ConnectionFilter::read(Some(filter), Use::Watch)?;
        let kinds = kinds(&request.kinds)?;
        let mut hasher = FilterHasher::new("watch", &realm);
        connection.hash_into(&mut hasher);
        hasher.texts(&event_types);
        hasher.number(u64::from(kinds.connections) | u64::from(kinds.exports) << 1);
        let resumable = Resumable { filter_hash: hasher.finish(), fold_version: FOLD_VERSION };
        let WatchConnectionsRequest { include_previous, include_event, heartbeat_interval, .. } = request;
        let filter = ExportFilter::of(connection);
        let query = Query { caller, realm, filter, kinds, include_previous, include_event, event_types };
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
