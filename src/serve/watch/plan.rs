//! Plan of a watch: its request, checked. Knows nothing of where the watch starts.

use std::sync::Arc;
use std::time::Duration;

use super::super::filter::{self, ConnectionFilter, ExportFilter, FilterHasher, Use};
use super::super::principal::Principal;
use super::super::status::Refusal;
use super::query::{Kinds, Query};
use super::start::Resumable;
use crate::fold::FOLD_VERSION;
use crate::proto::{WatchConnectionsRequest, WatchKind};

const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(15);
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
const HEARTBEAT_MAX: Duration = Duration::from_secs(300);

pub(super) struct Plan {
    pub query: Arc<Query>,
    pub resumable: Resumable,
    pub heartbeat: Duration,
}

impl Plan {
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
        Ok(Self { query: Arc::new(query), resumable, heartbeat: heartbeat(heartbeat_interval)? })
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

pub(super) fn heartbeat(interval: Option<prost_types::Duration>) -> Result<Duration, Refusal> {
    let Some(interval) = interval else { return Ok(HEARTBEAT_DEFAULT) };
    let interval = Duration::try_from(interval).ok().filter(|it| (HEARTBEAT_MIN..=HEARTBEAT_MAX).contains(it));
    interval.ok_or(Refusal::InvalidField { field: "heartbeat_interval", problem: "not between 1 s and 5 min" })
}
