//! Snapshot of a watch: all that matches at one position, in bounded batches, connections first, then exports. Knows
//! nothing of later changes.

use std::sync::Arc;

use super::super::caller::Caller;
use super::super::context::Context;
use super::super::order::{Order, Place};
use super::super::scan::{self, Limits, Scanned};
use super::super::scans::{Cancellation, send_first};
use super::super::snapshots::Loan;
use super::super::status::Refusal;
use super::query::Query;
use crate::fold::Views;
use crate::proto::watch_connections_response::Message as Body;
use crate::proto::{SnapshotBatch, SnapshotEnd};

/// Limits of one batch, and of the work before other tasks may run.
const BATCH: Limits = Limits { rows: 200, bytes: 64 * 1024, visits: 1000 };

enum Phase {
    /// Continues after this place.
    Connections(Option<Place>),
    /// Continues after this place.
    Exports(Option<Place>),
    End,
    Ended,
}

pub(super) struct Snapshot {
    context: Arc<Context>,
    caller: Caller,
    query: Arc<Query>,
    /// On loan: a slow reader must not keep old views alive.
    loan: Loan,
    phase: Phase,
    sent: SnapshotEnd,
}

impl Snapshot {
    pub fn of(context: &Arc<Context>, caller: Caller, query: &Arc<Query>, views: Arc<Views>) -> Self {
        let loan = context.snapshots.lend(views);
        let phase = if query.kinds.connections { Phase::Connections(None) } else { Phase::Exports(None) };
        Self { context: context.clone(), caller, query: query.clone(), loan, phase, sent: SnapshotEnd::default() }
    }

    /// Whether the end has been sent.
    pub fn ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Returns the next batch; after the last one, the end. Fails if called after that.
    pub async fn next(&mut self) -> Result<Body, Refusal> {
        loop {
            send_first().await;
            self.context.gate()?;
            let batch = match std::mem::replace(&mut self.phase, Phase::Ended) {
                Phase::Connections(after) => self.connections(after).await?,
                Phase::Exports(after) => self.exports(after).await?,
                Phase::End => return Ok(Body::SnapshotEnd(self.sent)),
                Phase::Ended => return Err(Refusal::Internal),
            };
            if !(batch.connections.is_empty() && batch.exports.is_empty()) {
                return Ok(Body::SnapshotBatch(batch));
            }
        }
    }

    async fn connections(&mut self, after: Option<Place>) -> Result<SnapshotBatch, Refusal> {
        let (loan, query) = (self.loan.clone(), self.query.clone());
        let look = move || {
            let views = loan.views().ok_or(Refusal::WatchFellBehind)?;
            let scanned = Scanned { views: &views, realm: &query.realm, cancellation: &Cancellation::default() };
            scan::connections(scanned, &query.filter.connection, Order::BY_ID, after, BATCH)
        };
        let step = self.context.scans.take_turn(self.caller, look).await??;
        self.sent.connections += step.rows.len() as u64;
        self.phase = match step.next {
            Some(after) => Phase::Connections(Some(after)),
            None if self.query.kinds.exports => Phase::Exports(None),
            None => Phase::End,
        };
        Ok(SnapshotBatch { connections: step.rows, exports: Vec::new() })
    }

    async fn exports(&mut self, after: Option<Place>) -> Result<SnapshotBatch, Refusal> {
        let (loan, query) = (self.loan.clone(), self.query.clone());
        let look = move || {
            let views = loan.views().ok_or(Refusal::WatchFellBehind)?;
            let scanned = Scanned { views: &views, realm: &query.realm, cancellation: &Cancellation::default() };
            scan::exports(scanned, &query.filter, &query.caller, Order::BY_ID, after, BATCH)
        };
        let step = self.context.scans.take_turn(self.caller, look).await??;
        self.sent.exports += step.rows.len() as u64;
        self.phase = step.next.map_or(Phase::End, |after| Phase::Exports(Some(after)));
        Ok(SnapshotBatch { connections: Vec::new(), exports: step.rows })
    }
}
