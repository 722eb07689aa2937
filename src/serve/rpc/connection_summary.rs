//! `SummarizeConnections`: counts all matching connections in one walk. Knows nothing of how they are found.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::fold::{Connection, Status};
use crate::proto::{PlatformCount, StatusCount, SummarizeConnectionsRequest, SummarizeConnectionsResponse};
use crate::serve::limits::{Caller, Cancellation};
use crate::serve::principal::Principal;
use crate::serve::query::scan;
use crate::serve::query::{ConnectionFilter, Scanned, Use};
use crate::serve::read::{Context, consistency};
use crate::serve::refusal::Refusal;
use crate::serve::wire;

/// Maximum number of platforms in the answer, which are the most frequent. Platform types are arbitrary words from
/// events, so their list is bounded.
const PLATFORMS_MAX: usize = 100;

pub async fn summarize(
    context: &Context,
    caller: Caller,
    principal: Principal,
    request: SummarizeConnectionsRequest,
) -> Result<SummarizeConnectionsResponse, Refusal> {
    context.gate()?;
    let realm = principal.realm(&request.tenant, request.api_mode)?;
    let filter = ConnectionFilter::read(request.filter, Use::List { now: (context.clock)() })?;
    let views = consistency::views(context, request.consistency.as_ref()).await?;
    let scanned = views.clone();
    let count = move |cancellation: &Cancellation| {
        let mut counts = Counts::default();
        let scanned = Scanned { views: &scanned, realm: &realm, cancellation };
        scan::matching(scanned, &filter).for_each(|connection| counts.add(&connection));
        counts
    };
    let counts = context.scans.run(caller, count).await?;
    Ok(SummarizeConnectionsResponse {
        position: views.position(),
        read_token: context.read_token(&views),
        ..counts.into_response()
    })
}

#[derive(Default)]
struct Counts {
    statuses: BTreeMap<Status, u64>,
    platforms: BTreeMap<String, u64>,
    needs_reconnect: u64,
    order_ambiguous: u64,
}

impl Counts {
    fn add(&mut self, connection: &Connection) {
        *self.statuses.entry(connection.status).or_default() += 1;
        let platform = connection.facts.platform_type.as_deref().unwrap_or_default();
        match self.platforms.get_mut(platform) {
            Some(count) => *count += 1,
            None => drop(self.platforms.insert(platform.to_owned(), 1)),
        }
        self.needs_reconnect += u64::from(connection.needs_reconnect);
        self.order_ambiguous += u64::from(connection.order_ambiguous);
    }

    fn into_response(self) -> SummarizeConnectionsResponse {
        let total = self.statuses.values().sum();
        let statuses = self.statuses.into_iter();
        let statuses = statuses.map(|(status, count)| StatusCount { status: wire::status(status).into(), count });
        let mut platforms: Vec<_> = self.platforms.into_iter().collect();
        platforms.sort_by_key(|(_, count)| Reverse(*count));
        platforms.truncate(PLATFORMS_MAX);
        let platforms = platforms.into_iter().map(|(platform_type, count)| PlatformCount { platform_type, count });
        SummarizeConnectionsResponse {
            total,
            statuses: statuses.collect(),
            platforms: platforms.collect(),
            needs_reconnect: self.needs_reconnect,
            order_ambiguous: self.order_ambiguous,
            ..SummarizeConnectionsResponse::default()
        }
    }
}
