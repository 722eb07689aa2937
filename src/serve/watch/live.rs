//! What follows after a position, for ever: changes, heartbeats, and how it ends.

use std::sync::Arc;
use std::time::Duration;
use std::vec;

use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::super::context::{Context, WatchSlot, off_runtime};
use super::super::state::ServingState;
use super::super::status::Refusal;
use super::At;
use super::plan::Plan;
use crate::event::Position;
use crate::fold::{PositionChanges, Stretch, Views};
use crate::proto::watch_connections_response::Message as Body;
use crate::proto::{CaughtUp, FellBehind, GoingAway, Heartbeat};

/// Looked at between two chances for others to run, and all that a slow reader keeps alive.
const CHANGES_AT_ONCE: usize = 256;

pub(super) struct Live {
    plan: Arc<Plan>,
    views: watch::Receiver<Arc<Views>>,
    state: watch::Receiver<ServingState>,
    heartbeat: Interval,
    /// Everything up to here has been sent.
    at: At,
    /// What follows, and where the watch is when it has been sent.
    pending: vec::IntoIter<Arc<PositionChanges>>,
    through: At,
    /// The head when the watch began, or fell behind, until it is reached.
    target: Option<Position>,
    reconnect_after: Duration,
    ending: Option<Refusal>,
}

impl Live {
    pub fn new(context: &Context, plan: &Arc<Plan>, slot: &WatchSlot, at: At) -> Self {
        let mut heartbeat = interval_at(Instant::now() + plan.heartbeat, plan.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            plan: plan.clone(),
            views: context.views.clone(),
            state: context.state.clone(),
            heartbeat,
            at,
            pending: Vec::new().into_iter(),
            through: at,
            target: Some(context.reader.head().position),
            reconnect_after: reconnect_after(slot.ordinal),
            ending: None,
        }
    }

    /// The next message, and where the watch is after it.
    pub async fn next(&mut self) -> Result<(At, Body), Refusal> {
        if let Some(refusal) = self.ending.take() {
            return Err(refusal);
        }
        loop {
            if let Some(body) = self.next_change().await? {
                return Ok((self.at, body));
            }
            if self.target.take_if(|target| self.at.position >= *target).is_some() {
                return Ok((self.at, Body::CaughtUp(CaughtUp {})));
            }
            tokio::select! {
                biased;
                // First, or a watch whose filter matches nothing would be silent while others' changes pour in.
                _ = self.heartbeat.tick() => return Ok((self.at, Body::Heartbeat(Heartbeat {}))),
                () = beyond(&mut self.views, self.at.position) => {
                    if self.has_fallen_behind() {
                        return Ok((self.at, Body::FellBehind(FellBehind {})));
                    }
                    self.take().await?;
                }
                // Last: at a stop the views are final by then, and all of them is sent.
                refusal = ended(&mut self.state) => return self.end(refusal),
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Whether the end has been announced.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    async fn next_change(&mut self) -> Result<Option<Body>, Refusal> {
        for changes in self.pending.by_ref() {
            let at = At { position: changes.position, chain: changes.chain };
            let views = self.views.borrow().clone();
            let batch = if self.plan.reads_the_past(&changes) {
                let plan = self.plan.clone();
                off_runtime(move || plan.render(&changes, &views)).await??
            } else {
                self.plan.render(&changes, &views)?
            };
            self.at = at;
            if let Some(batch) = batch {
                return Ok(Some(Body::ChangeBatch(batch)));
            }
        }
        self.at = self.through;
        Ok(None)
    }

    /// What it has not seen is no longer in memory, although it had caught up: it has to catch up again.
    fn has_fallen_behind(&mut self) -> bool {
        let views = self.views.borrow();
        let fell = self.target.is_none() && !views.are_at_hand(self.at.position);
        if fell {
            self.target = Some(views.position());
        }
        fell
    }

    /// Takes a few changes, and lets go of the views.
    async fn take(&mut self) -> Result<(), Refusal> {
        let (views, after) = (self.views.borrow().clone(), self.at.position);
        let stretch = if views.are_at_hand(after) {
            views.changes_after(after, CHANGES_AT_ONCE)
        } else {
            off_runtime(move || views.changes_after(after, CHANGES_AT_ONCE)).await?
        };
        let Stretch { changes, through, chain } = stretch?;
        self.through = At { position: through, chain };
        self.pending = changes.into_iter();
        Ok(())
    }

    /// A planned end is announced first; then [`Self::next`] brings it.
    pub fn end(&mut self, refusal: Refusal) -> Result<(At, Body), Refusal> {
        if !matches!(refusal, Refusal::ShuttingDown) {
            return Err(refusal);
        }
        let reconnect_after = prost_types::Duration::try_from(self.reconnect_after).ok();
        let going_away = GoingAway { reason: refusal.reason().to_owned(), reconnect_after };
        self.ending = Some(refusal);
        Ok((self.at, Body::GoingAway(going_away)))
    }
}

/// Spreads those who were sent away together: each 10 ms after the one before, within a minute.
fn reconnect_after(ordinal: usize) -> Duration {
    let turn = u64::try_from(ordinal % 6000).unwrap_or_default();
    Duration::from_secs(1) + Duration::from_millis(10) * u32::try_from(turn).unwrap_or_default()
}

/// Why all watches end, when they do.
async fn ended(state: &mut watch::Receiver<ServingState>) -> Refusal {
    match state.wait_for(ServingState::ends_watches).await.as_deref() {
        Ok(ServingState::Damaged { reason }) => Refusal::DataDamaged(reason.clone()),
        _ => Refusal::ShuttingDown,
    }
}

/// Until the views are past a position. Views that have come to their end never are: what ends then is the state.
async fn beyond(views: &mut watch::Receiver<Arc<Views>>, position: Position) {
    if views.wait_for(|views| views.position() > position).await.is_err() {
        std::future::pending::<()>().await;
    }
}
