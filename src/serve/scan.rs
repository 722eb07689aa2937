//! One bounded step through a state: a page of a list, or a part of a watch's snapshot. Knows nothing of requests and
//! tokens.
//!
//! In the order of ids a step continues where the last one ended. In another order each step looks at all rows that may
//! match, and keeps the first of them.

mod merge;

use std::sync::Arc;

use prost::Message;

use super::convert;
use super::filter::{ConnectionFilter, ExportFilter};
use super::order::{self, Order, Place};
use super::principal::Principal;
use super::scans::Cancellation;
use super::status::Refusal;
use crate::fold::{Connection, Id, Realm, Slot, Views};
use crate::proto;
use merge::Merge;

/// Maximum number of owners whose exports are gathered. With more owners, looking at every export in turn costs no
/// more.
const OWNERS_MAX: usize = 1000;

/// Input of a step, which runs until it is cancelled. The result of a cancelled step is incomplete and of no use.
#[derive(Clone, Copy)]
pub(super) struct Scanned<'a> {
    pub views: &'a Views,
    pub realm: &'a Realm,
    pub cancellation: &'a Cancellation,
}

/// Limits of a step. It ends when it has reached one of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub rows: usize,
    /// Encoded size of the rows.
    pub bytes: usize,
    /// Entities looked at, whether they match or not.
    pub visits: usize,
}

/// Result of a step.
pub(super) struct Step<T> {
    pub rows: Vec<T>,
    /// Place after which the next step continues. `None` if there are no more rows.
    pub next: Option<Place>,
}

type Candidates<'a, T> = Box<dyn Iterator<Item = (Id, T)> + 'a>;

pub(super) fn connections(
    scanned: Scanned<'_>,
    filter: &ConnectionFilter,
    order: Order,
    after: Option<Place>,
    limits: Limits,
) -> Result<Step<proto::Connection>, Refusal> {
    let look =
        |_: &Id, connection: Arc<Connection>| Ok(filter.matches(&connection).then(|| convert::connection(&connection)));
    if order.is_by_id() {
        return step(by_id(candidates(scanned, filter, after.map(|place| place.id))), limits, look);
    }
    let ranked = matching(scanned, filter).map(|connection| {
        let place = Place { rank: order.rank_of_connection(&connection), id: Id::of(&connection.id) };
        (place, connection)
    });
    step(order::first(ranked, after.as_ref(), limits.rows + 1), limits, look)
}

fn by_id<T>(candidates: impl Iterator<Item = (Id, T)>) -> impl Iterator<Item = (Place, T)> {
    candidates.map(|(id, it)| (Place { rank: 0, id }, it))
}

/// Returns all matching connections.
pub(super) fn matching<'a>(
    scanned: Scanned<'a>,
    filter: &'a ConnectionFilter,
) -> impl Iterator<Item = Arc<Connection>> + 'a {
    let candidates = candidates(scanned, filter, None);
    candidates.map(|(_, connection)| connection).filter(|connection| filter.matches(connection))
}

fn candidates<'a>(
    scanned: Scanned<'a>,
    filter: &ConnectionFilter,
    after: Option<Id>,
) -> Candidates<'a, Arc<Connection>> {
    let Scanned { views, realm, cancellation } = scanned;
    if filter.external_ids.is_empty() {
        return until_cancelled(views.connections(realm, after), cancellation);
    }
    let of = |external_id: &String| views.connections_of(realm, external_id, after.clone());
    until_cancelled(Merge::new(filter.external_ids.iter().map(of)), cancellation)
}

fn until_cancelled<'a, T>(
    candidates: impl Iterator<Item = (Id, T)> + 'a,
    cancellation: &'a Cancellation,
) -> Candidates<'a, T> {
    Box::new(candidates.take_while(|_| !cancellation.is_cancelled()))
}

/// Scans exports. May read the change log, which blocks.
pub(super) fn exports(
    scanned: Scanned<'_>,
    filter: &ExportFilter,
    caller: &Principal,
    order: Order,
    after: Option<Place>,
    limits: Limits,
) -> Result<Step<proto::Export>, Refusal> {
    let Scanned { views, realm, .. } = scanned;
    let look = |task_id: &Id, slot: Slot| {
        if !filter.may_match(&slot) {
            return Ok(None);
        }
        let joined = views.join(realm, task_id, &slot)?;
        let matches = filter.matches(&joined.export, joined.connection.as_deref());
        Ok(matches.then(|| convert::export(&joined, caller)))
    };
    if order.is_by_id() {
        return step(by_id(slots(scanned, filter, after.map(|place| place.id))), limits, look);
    }
    let slots = slots(scanned, filter, None).filter(|(_, slot)| filter.may_match(slot));
    let ranked = slots.map(|(id, slot)| (Place { rank: order.rank_of_export(&slot), id }, slot));
    step(order::first(ranked, after.as_ref(), limits.visits + 1), limits, look)
}

/// Returns all exports that may match, after a task.
fn slots<'a>(scanned: Scanned<'a>, filter: &ExportFilter, after: Option<Id>) -> Candidates<'a, Slot> {
    let Scanned { views, realm, cancellation } = scanned;
    match (owners(views, realm, filter), filter.deadlines()) {
        // An export that has moved from one owner to another may come with both.
        (Some(owners), _) => {
            let of = |owner| views.exports_of(realm, owner, after.clone()).map(|(id, (slot, _))| (id, slot));
            let mut last = None;
            let unseen = move |(id, _): &(Id, Slot)| last.replace(id.clone()).as_ref() != Some(id);
            until_cancelled(Merge::new(owners.into_iter().map(of)).filter(unseen), cancellation)
        }
        (None, Some(deadlines)) => {
            until_cancelled(views.exports_settling(realm, deadlines, after.as_ref()), cancellation)
        }
        (None, None) => until_cancelled(views.exports(realm, after), cancellation),
    }
}

/// Returns the connections that a matching export must belong to. `None` if there are too many, or if any connection
/// will do.
fn owners(views: &Views, realm: &Realm, filter: &ExportFilter) -> Option<Vec<Id>> {
    if !filter.connection_ids.is_empty() {
        return Some(filter.connection_ids.iter().map(|id| Id::find(id)).collect());
    }
    let external_ids = &filter.connection.external_ids;
    if external_ids.is_empty() {
        return None;
    }
    let connections = external_ids.iter().flat_map(|external_id| views.connections_of(realm, external_id, None));
    let owners: Vec<_> = connections.map(|(id, _)| id).take(OWNERS_MAX + 1).collect();
    (owners.len() <= OWNERS_MAX).then_some(owners)
}

fn step<T, R: Message>(
    candidates: impl Iterator<Item = (Place, T)>,
    limits: Limits,
    look: impl Fn(&Id, T) -> Result<Option<R>, Refusal>,
) -> Result<Step<R>, Refusal> {
    let mut step = Step { rows: Vec::new(), next: None };
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
