//! One position's changes as a query shows them. Never split; `None` if the query shows none of them. Knows nothing of
//! feeds.

use std::sync::Arc;

use prost::Message as _;

use super::query::{ExportsEffect, Query};
use crate::event::{BodySummary, Position};
use crate::fold::{Change, Connection, Id, JoinedExport, PositionChanges, Views};
use crate::log::ReadError;
use crate::proto::change::{Effect, Entity, Previous};
use crate::proto::{self, Changes};
use crate::serve::limits::Caller;
use crate::serve::read::Context;
use crate::serve::refusal::Refusal;
use crate::serve::wire;

/// Maximum size of the changes of one position. Clients take messages of 4 MiB by default, and these changes are never
/// split.
const CHANGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Renders the changes. Takes one of the caller's turns if it must read from disk.
pub async fn render(
    context: &Arc<Context>,
    caller: Caller,
    query: &Arc<Query>,
    changes: &Arc<PositionChanges>,
) -> Result<Option<Changes>, Refusal> {
    if !query.sees(changes) {
        return Ok(None);
    }
    if !reads_disk(query, changes) {
        let changes = query.changes(changes, &*context.readable()?)?;
        return Ok(Some(Changes { changes, event: None }));
    }
    let query = query.clone();
    let changes = changes.clone();
    let own_context = context.clone();
    context.scans.take_turn(caller, move || query.read_and_show(&changes, &own_context)).await?
}

/// Whether rendering needs more than the changes themselves.
pub fn reads_disk(query: &Query, changes: &PositionChanges) -> bool {
    query.reads_the_past(changes) || query.asks_for_the_event()
}

impl Query {
    fn read_and_show(&self, changes: &PositionChanges, context: &Context) -> Result<Option<Changes>, Refusal> {
        let position = changes.position;
        let changes = self.changes(changes, &*context.readable()?)?;
        if changes.is_empty() {
            return Ok(None);
        }
        if !self.asks_for_the_event() {
            return Ok(Some(Changes { changes, event: None }));
        }
        let event = context.sources.reader.get(position).map_err(Context::report_unreadable)?;
        let event = event.ok_or(Refusal::EventNotFound)?;
        let summary = BodySummary::read(&event.delivery.body);
        let event = wire::event(event, summary, &self.principal);
        if !self.event_types.is_empty() && !self.event_types.contains(&event.r#type) {
            return Ok(None);
        }
        let changes = Changes { changes, event: self.include_event.then_some(event) };
        if changes.encoded_len() > CHANGE_BYTES_MAX {
            return Err(Refusal::ChangeTooLarge(position));
        }
        Ok(Some(changes))
    }

    /// Returns the changes of a position that the query is shown. Stops at the size limit: a connection may have very
    /// many exports.
    pub fn changes(&self, changes: &PositionChanges, views: &Views) -> Result<Vec<proto::Change>, Refusal> {
        let mut shown = Vec::new();
        let mut bytes = 0;
        for change in &changes.changes {
            let own = self.change(change).map(Ok).into_iter();
            for change in own.chain(self.rejoined(change, changes.position, views)) {
                let change = change?;
                bytes += change.encoded_len();
                if bytes > CHANGE_BYTES_MAX {
                    return Err(Refusal::ChangeTooLarge(changes.position));
                }
                shown.push(change);
            }
        }
        Ok(shown)
    }

    /// Returns changes of the exports that did not change themselves while their connection did. An export that the
    /// same event changed has a change of its own.
    fn rejoined<'a>(
        &'a self,
        change: &'a Change,
        position: Position,
        views: &'a Views,
    ) -> impl Iterator<Item = Result<proto::Change, ReadError>> + 'a {
        self.effect_on_exports(change).into_iter().flat_map(move |ExportsEffect { effect, previous, current }| {
            let exports = views.exports_of_at(&self.realm, Id::of(&current.id), position);
            exports.filter_map(move |export| match export {
                Ok(export) if export.lineage.last.position == position => None,
                Ok(export) => {
                    let joined =
                        |to: &Arc<Connection>| JoinedExport { export: export.clone(), connection: Some(to.clone()) };
                    Some(Ok(self.export(effect, Some(&joined(previous)), &joined(current))))
                }
                Err(error) => Some(Err(error)),
            })
        })
    }

    /// Returns the change as the query shows it. `None` if it is not for this query.
    fn change(&self, change: &Change) -> Option<proto::Change> {
        let effect = self.effect(change)?;
        Some(match change {
            Change::Connection { previous, current } => {
                let previous = if self.include_previous { previous.as_deref() } else { None };
                proto::Change {
                    effect: effect.into(),
                    entity: Some(Entity::Connection(wire::connection(current))),
                    previous: previous.map(|previous| Previous::PreviousConnection(wire::connection(previous))),
                }
            }
            Change::Export { previous, current } => self.export(effect, previous.as_ref(), current),
        })
    }

    fn export(&self, effect: Effect, previous: Option<&JoinedExport>, current: &JoinedExport) -> proto::Change {
        let previous = if self.include_previous { previous } else { None };
        proto::Change {
            effect: effect.into(),
            entity: Some(Entity::Export(wire::export(current, &self.principal))),
            previous: previous.map(|previous| Previous::PreviousExport(wire::export(previous, &self.principal))),
        }
    }
}
