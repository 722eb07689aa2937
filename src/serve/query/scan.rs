//! One bounded step through a state: a page of a list, or a part of a watch's snapshot. Knows nothing of requests and
//! tokens.
//!
//! In the order of ids a step continues where the last one ended. In another order each step looks at all rows that may
//! match, and keeps the first of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use prost::Message;

use super::filter::{ConnectionFilter, ExportFilter};
use super::order::{self, Order, RowPlace};
use crate::fold::{Connection, ExportSlot, Id, Realm, Views};
use crate::proto;
use crate::serve::limits::Cancellation;
use crate::serve::principal::Principal;
use crate::serve::refusal::Refusal;
use crate::serve::wire;

/// Maximum number of owners whose exports are gathered. With more owners, looking at every export in turn costs no
/// more.
const OWNERS_MAX: usize = 1000;

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

type Candidates<'a, T> = Box<dyn Iterator<Item = (Id, T)> + 'a>;

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
    candidates.map(|(id, it)| (RowPlace { rank: 0, id }, it))
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
pub fn exports(
    scanned: Scanned<'_>,
    filter: &ExportFilter,
    caller: &Principal,
    order: Order,
    after: Option<RowPlace>,
    limits: ScanLimits,
) -> Result<ScanStep<proto::Export>, Refusal> {
    let Scanned { views, realm, .. } = scanned;
    let look = |task_id: &Id, slot: ExportSlot| {
        if !filter.may_match(&slot) {
            return Ok(None);
        }
        let joined = views.join(realm, task_id, &slot)?;
        let matches = filter.matches(&joined.export, joined.connection.as_deref());
        Ok(matches.then(|| wire::export(&joined, caller)))
    };
    if order.is_by_id() {
        return step(by_id(slots(scanned, filter, after.map(|place| place.id))), limits, look);
    }
    let slots = slots(scanned, filter, None).filter(|(_, slot)| filter.may_match(slot));
    let ranked = slots.map(|(id, slot)| (RowPlace { rank: order.rank_of_export(&slot), id }, slot));
    step(order::first(ranked, after.as_ref(), limits.visits + 1), limits, look)
}

/// Returns all exports that may match, after a task.
fn slots<'a>(scanned: Scanned<'a>, filter: &ExportFilter, after: Option<Id>) -> Candidates<'a, ExportSlot> {
    let Scanned { views, realm, cancellation } = scanned;
    match (owners(views, realm, filter), filter.deadlines()) {
        // An export that has moved from one owner to another may come with both.
        (Some(owners), _) => {
            let of = |owner| views.exports_of(realm, owner, after.clone()).map(|(id, (slot, _))| (id, slot));
            let mut last = None;
            let unseen = move |(id, _): &(Id, ExportSlot)| last.replace(id.clone()).as_ref() != Some(id);
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

/// Merge of several runs, each in the order of ids, into one.
struct Merge<T, I> {
    runs: Vec<I>,
    /// Id of the next item of each run that has one, the smallest id on top.
    heads: BinaryHeap<Reverse<(Id, usize)>>,
    waiting: Vec<Option<(Id, T)>>,
}

impl<T, I: Iterator<Item = (Id, T)>> Merge<T, I> {
    fn new(runs: impl Iterator<Item = I>) -> Self {
        let runs: Vec<I> = runs.collect();
        let waiting = runs.iter().map(|_| None).collect();
        let mut merge = Self { runs, heads: BinaryHeap::new(), waiting };
        for run in 0..merge.runs.len() {
            merge.draw(run);
        }
        merge
    }

    fn draw(&mut self, run: usize) -> Option<(Id, T)> {
        let next = self.runs.get_mut(run)?.next();
        if let Some((id, _)) = &next {
            self.heads.push(Reverse((id.clone(), run)));
        }
        std::mem::replace(self.waiting.get_mut(run)?, next)
    }
}

impl<T, I: Iterator<Item = (Id, T)>> Iterator for Merge<T, I> {
    type Item = (Id, T);

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((_, run)) = self.heads.pop()?;
        self.draw(run)
    }
}
