//! One bounded step through a state: a page of a list, or a part of a watch's snapshot. Knows nothing of requests and
//! tokens.
//!
//! In the order of ids a step continues where the last one ended. In another order each step looks at all rows that may
//! match, and keeps the first of them.

use std::sync::Arc;

use prost::Message;

use super::filter::{ConnectionFilter, ExportFilter};
use super::order::{self, Order, RowPlace};
use crate::fold::{Connection, ExportCandidate, Id, Realm, Views};
use crate::proto;
use crate::serve::limits::Cancellation;
use crate::serve::principal::Principal;
use crate::serve::refusal::Refusal;
use crate::serve::wire;

/// Input of a step, which runs until it is cancelled. The result of a cancelled step is incomplete and of no use.
#[derive(Clone, Copy)]
pub struct Scanned<'a> {
    pub views: &'a Views,
    pub realm: &'a Realm,
    pub cancellation: &'a Cancellation,
}

/// Limits of a step. It ends when it has reached one of them.
#[derive(Debug, Clone, Copy)]
pub struct ScanLimits {
    pub rows: usize,
    /// Encoded size of the rows.
    pub bytes: usize,
    /// Entities looked at, whether they match or not.
    pub visits: usize,
}

/// Result of a step.
pub struct ScanStep<T> {
    pub rows: Vec<T>,
    /// Place after which the next step continues. `None` if there are no more rows.
    pub next: Option<RowPlace>,
}

pub fn connections(
    scanned: Scanned<'_>,
    filter: &ConnectionFilter,
    order: Order,
    after: Option<RowPlace>,
    limits: ScanLimits,
) -> Result<ScanStep<proto::Connection>, Refusal> {
    let look =
        |_: &Id, connection: Arc<Connection>| Ok(filter.matches(&connection).then(|| wire::connection(&connection)));
    if order.is_by_id() {
        return step(by_id(candidates(scanned, filter, after.map(|place| place.id))), limits, look);
    }
    let ranked = matching(scanned, filter).map(|connection| {
        let place = RowPlace { rank: order.rank_of_connection(&connection), id: Id::of(&connection.id) };
        (place, connection)
    });
    step(order::first(ranked, after.as_ref(), limits.rows + 1), limits, look)
}

fn by_id<T>(candidates: impl Iterator<Item = (Id, T)>) -> impl Iterator<Item = (RowPlace, T)> {
    candidates.map(|(id, candidate)| (RowPlace { rank: 0, id }, candidate))
}

/// Returns all matching connections.
pub fn matching<'a>(scanned: Scanned<'a>, filter: &'a ConnectionFilter) -> impl Iterator<Item = Arc<Connection>> + 'a {
    let candidates = candidates(scanned, filter, None);
    candidates.map(|(_, connection)| connection).filter(|connection| filter.matches(connection))
}

fn candidates<'a>(
    scanned: Scanned<'a>,
    filter: &ConnectionFilter,
    after: Option<Id>,
) -> impl Iterator<Item = (Id, Arc<Connection>)> + use<'a> {
    let Scanned { views, realm, cancellation } = scanned;
    until_cancelled(views.find_connections(realm, &filter.external_ids, after), cancellation)
}

fn until_cancelled<'a, T>(
    candidates: impl Iterator<Item = (Id, T)> + 'a,
    cancellation: &'a Cancellation,
) -> impl Iterator<Item = (Id, T)> + 'a {
    candidates.take_while(|_| !cancellation.is_cancelled())
}

/// Scans exports. May read the change log, which blocks.
pub fn exports(
    scanned: Scanned<'_>,
    filter: &ExportFilter,
    caller: &Principal,
    order: Order,
    after: Option<RowPlace>,
    limits: ScanLimits,
) -> Result<ScanStep<proto::Export>, Refusal> {
    let Scanned { views, realm, cancellation } = scanned;
    let query = filter.query();
    let look = |task_id: &Id, candidate: ExportCandidate| {
        if !query.may_match(&candidate) {
            return Ok(None);
        }
        let joined = views.load(realm, task_id, &candidate)?;
        let matches = filter.matches(&joined.export, joined.connection.as_deref());
        Ok(matches.then(|| wire::export(&joined, caller)))
    };
    if order.is_by_id() {
        let candidates = views.find_exports(realm, &query, after.map(|place| place.id));
        return step(by_id(until_cancelled(candidates, cancellation)), limits, look);
    }
    let candidates = until_cancelled(views.find_exports(realm, &query, None), cancellation);
    let matching = candidates.filter(|(_, candidate)| query.may_match(candidate));
    let ranked = matching.map(|(id, candidate)| (RowPlace { rank: order.rank_of_export(&candidate), id }, candidate));
    step(order::first(ranked, after.as_ref(), limits.visits + 1), limits, look)
}

fn step<T, R: Message>(
    candidates: impl Iterator<Item = (RowPlace, T)>,
    limits: ScanLimits,
    look: impl Fn(&Id, T) -> Result<Option<R>, Refusal>,
) -> Result<ScanStep<R>, Refusal> {
    let mut step = ScanStep { rows: Vec::new(), next: None };
    let mut last = None;
    let mut bytes = 0;
    for (visits, (place, candidate)) in candidates.enumerate() {
        if visits == limits.visits || step.rows.len() == limits.rows || bytes >= limits.bytes {
            step.next = last;
            break;
        }
        if let Some(row) = look(&place.id, candidate)? {
            bytes += row.encoded_len();
            step.rows.push(row);
        }
        last = Some(place);
    }
    Ok(step)
}
