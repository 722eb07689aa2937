//! What a watch was asked for, checked.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::filter::{self, ConnectionFilter, ExportFilter, FilterHasher, Use};
use super::super::principal::Principal;
use super::super::status::Refusal;
use super::start::Resumable;
use crate::fold::{FOLD_VERSION, Realm};
use crate::proto::{WatchConnectionsRequest, WatchKind};

const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(15);
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
const HEARTBEAT_MAX: Duration = Duration::from_secs(300);

pub(super) struct Plan {
    pub caller: Principal,
    pub realm: Realm,
    /// Its connection part is the watch's filter; an export matches when its connection does.
    pub filter: ExportFilter,
    pub resumable: Resumable,
    pub kinds: Kinds,
    pub include_previous: bool,
    pub include_event: bool,
    /// Empty: any.
    pub event_types: BTreeSet<String>,
    pub heartbeat: Duration,
}

pub(super) struct Kinds {
    pub connections: bool,
    pub exports: bool,
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
        Ok(Self {
            caller,
            realm,
            filter: ExportFilter::of(connection),
            resumable: Resumable { filter_hash: hasher.finish(), fold_version: FOLD_VERSION },
            kinds,
            include_previous: request.include_previous,
            include_event: request.include_event,
            event_types,
            heartbeat: heartbeat(request.heartbeat_interval)?,
        })
    }
}

/// None named: both.
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
