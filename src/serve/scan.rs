//! One bounded step through a state, in the order of ids: a page of a list, or a part of a watch's snapshot.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use prost::Message;

use super::convert;
use super::filter::{ConnectionFilter, ExportFilter};
use super::principal::Principal;
use crate::fold::{Connection, Export, State};
use crate::proto;

/// With more owners than this, looking at every export in turn is no dearer than gathering theirs.
const OWNERS_MAX: usize = 1000;

/// A step ends when it has reached one of these.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub rows: usize,
    /// Of the rows on the wire.
    pub bytes: usize,
    /// Entities looked at, whether they match or not.
    pub visits: usize,
}

/// What a step found.
pub(super) struct Step<T> {
    pub rows: Vec<T>,
    /// Where the next step goes on: after this id. None: there is nothing more.
    pub next: Option<Arc<str>>,
}

type Candidates<'a, T> = Box<dyn Iterator<Item = &'a Arc<T>> + 'a>;

pub(super) fn connections(
    state: &State,
    filter: &ConnectionFilter,
    after: Option<&str>,
    limits: Limits,
) -> Step<proto::Connection> {
    let candidates: Candidates<'_, Connection> = if filter.external_ids.is_empty() {
        Box::new(state.connections(after))
    } else {
        let owned = filter.external_ids.iter().map(|owner| state.connections_of(owner, after));
        Box::new(Merge::new(owned, |connection| &connection.id))
    };
    step(candidates, limits, |connection| {
        (&connection.id, filter.matches(connection).then(|| convert::connection(connection)))
    })
}

pub(super) fn exports(
    state: &State,
    filter: &ExportFilter,
    caller: &Principal,
    after: Option<&str>,
    limits: Limits,
) -> Step<proto::Export> {
    let candidates: Candidates<'_, Export> = match owners(state, filter) {
        Some(owners) => {
            let owned = owners.iter().map(|owner| state.exports_of(owner, after));
            Box::new(Merge::new(owned, |export| &export.task_id))
        }
        None => Box::new(state.exports(after)),
    };
    step(candidates, limits, |export| {
        let joined = state.join(export);
        let matches = filter.matches(export, joined.connection.as_deref());
        (&export.task_id, matches.then(|| convert::export(&joined, caller)))
    })
}

/// The connections that a matching export must belong to; None if there are too many, or any will do.
fn owners<'a>(state: &'a State, filter: &'a ExportFilter) -> Option<Vec<&'a str>> {
    if !filter.connection_ids.is_empty() {
        return Some(filter.connection_ids.iter().map(String::as_str).collect());
    }
    let external_ids = &filter.connection.external_ids;
    if external_ids.is_empty() {
        return None;
    }
    let connections = external_ids.iter().flat_map(|external_id| state.connections_of(external_id, None));
    let owners: Vec<_> = connections.map(|connection| &*connection.id).take(OWNERS_MAX + 1).collect();
    (owners.len() <= OWNERS_MAX).then_some(owners)
}

fn step<'a, T: 'a, R: Message>(
    candidates: impl Iterator<Item = &'a Arc<T>>,
    limits: Limits,
    look: impl Fn(&'a Arc<T>) -> (&'a Arc<str>, Option<R>),
) -> Step<R> {
    let mut step = Step { rows: Vec::new(), next: None };
    let mut last: Option<&Arc<str>> = None;
    let mut bytes = 0;
    for (visits, candidate) in candidates.enumerate() {
        if visits == limits.visits || step.rows.len() == limits.rows || bytes >= limits.bytes {
            step.next = last.cloned();
            break;
        }
        let (id, row) = look(candidate);
        last = Some(id);
        if let Some(row) = row {
            bytes += row.encoded_len();
            step.rows.push(row);
        }
    }
    step
}

/// Several runs, each in order and with nothing in common, as one in order.
struct Merge<'a, T, I> {
    runs: Vec<I>,
    /// The next of each run that has one, the least id on top.
    heads: BinaryHeap<Reverse<(&'a Arc<str>, usize)>>,
    waiting: Vec<Option<&'a Arc<T>>>,
    id: fn(&'a Arc<T>) -> &'a Arc<str>,
}

impl<'a, T, I: Iterator<Item = &'a Arc<T>>> Merge<'a, T, I> {
    fn new(runs: impl Iterator<Item = I>, id: fn(&'a Arc<T>) -> &'a Arc<str>) -> Self {
        let runs: Vec<I> = runs.collect();
        let waiting = vec![None; runs.len()];
        let mut merge = Self { runs, heads: BinaryHeap::new(), waiting, id };
        for run in 0..merge.runs.len() {
            merge.draw(run);
        }
        merge
    }

    fn draw(&mut self, run: usize) -> Option<&'a Arc<T>> {
        let next = self.runs.get_mut(run)?.next();
        if let Some(next) = next {
            self.heads.push(Reverse(((self.id)(next), run)));
        }
        std::mem::replace(self.waiting.get_mut(run)?, next)
    }
}

impl<'a, T, I: Iterator<Item = &'a Arc<T>>> Iterator for Merge<'a, T, I> {
    type Item = &'a Arc<T>;

    fn next(&mut self) -> Option<&'a Arc<T>> {
        let Reverse((_, run)) = self.heads.pop()?;
        self.draw(run)
    }
}
