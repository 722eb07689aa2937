//! Snapshot of a watch: all that matches at one position, in bounded batches, connections first, then exports. Knows
//! nothing of later changes.

use std::sync::Arc;

use super::query::Query;
use crate::fold::Views;
use crate::proto::watch_connections_response::Message as Body;
use crate::proto::{SnapshotBatch, SnapshotEnd};
use crate::serve::limits::scans::yield_to_sender;
use crate::serve::limits::{Caller, Cancellation};
use crate::serve::query::scan;
use crate::serve::query::{Order, RowPlace, ScanLimits, Scanned};
use crate::serve::read::{Context, Loan};
use crate::serve::refusal::Refusal;

/// Limits of one batch, and of the work before other tasks may run.
const BATCH: ScanLimits = ScanLimits { rows: 200, bytes: 64 * 1024, visits: 1000 };

enum SnapshotPhase {
    /// Continues after this place.
    Connections(Option<RowPlace>),
    /// Continues after this place.
    Exports(Option<RowPlace>),
    End,
    Ended,
}

pub struct Snapshot {
    context: Arc<Context>,
    caller: Caller,
    query: Arc<Query>,
    /// On loan: a slow reader must not keep old views alive.
    loan: Loan,
    phase: SnapshotPhase,
    sent: SnapshotEnd,
}

impl Snapshot {
    pub fn of(context: &Arc<Context>, caller: Caller, query: &Arc<Query>, views: Arc<Views>) -> Self {
        let loan = context.snapshots.lend(views);
        let phase =
            if query.kinds.connections { SnapshotPhase::Connections(None) } else { SnapshotPhase::Exports(None) };
        Self { context: context.clone(), caller, query: query.clone(), loan, phase, sent: SnapshotEnd::default() }
    }

    /// Whether the end has been sent.
    pub fn ended(&self) -> bool {
        matches!(self.phase, SnapshotPhase::Ended)
    }

    /// Returns the next batch; after the last one, the end. Fails if called after that.
    pub async fn next(&mut self) -> Result<Body, Refusal> {
        loop {
            yield_to_sender().await;
            self.context.gate()?;
            let batch = match std::mem::replace(&mut self.phase, SnapshotPhase::Ended) {
                SnapshotPhase::Connections(after) => self.read_connections(after).await?,
                SnapshotPhase::Exports(after) => self.read_exports(after).await?,
                SnapshotPhase::End => return Ok(Body::SnapshotEnd(self.sent)),
                SnapshotPhase::Ended => return Err(Refusal::Internal),
            };
            if !(batch.connections.is_empty() && batch.exports.is_empty()) {
                return Ok(Body::SnapshotBatch(batch));
            }
        }
    }

    async fn read_connections(&mut self, after: Option<RowPlace>) -> Result<SnapshotBatch, Refusal> {
        let loan = self.loan.clone();
        let query = self.query.clone();
        let look = move || {
            let views = loan.views().ok_or(Refusal::WatchFellBehind)?;
            let scanned = Scanned { views: &views, realm: &query.realm, cancellation: &Cancellation::default() };
            scan::connections(scanned, &query.filter.connection, Order::BY_ID, after, BATCH)
        };
        let step = self.context.scans.take_turn(self.caller, look).await??;
        self.sent.connections += step.rows.len() as u64;
        self.phase = match step.next {
            Some(after) => SnapshotPhase::Connections(Some(after)),
            None if self.query.kinds.exports => SnapshotPhase::Exports(None),
            None => SnapshotPhase::End,
        };
        Ok(SnapshotBatch { connections: step.rows, exports: Vec::new() })
    }

    async fn read_exports(&mut self, after: Option<RowPlace>) -> Result<SnapshotBatch, Refusal> {
        let loan = self.loan.clone();
        let query = self.query.clone();
        let look = move || {
            let views = loan.views().ok_or(Refusal::WatchFellBehind)?;
            let scanned = Scanned { views: &views, realm: &query.realm, cancellation: &Cancellation::default() };
            scan::exports(scanned, &query.filter, &query.principal, Order::BY_ID, after, BATCH)
        };
        let step = self.context.scans.take_turn(self.caller, look).await??;
        self.sent.exports += step.rows.len() as u64;
        self.phase = step.next.map_or(SnapshotPhase::End, |after| SnapshotPhase::Exports(Some(after)));
        Ok(SnapshotBatch { connections: Vec::new(), exports: step.rows })
    }
}
