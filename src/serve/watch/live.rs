//! What changes after a position, for ever.

use std::sync::Arc;
use std::vec;

use tokio::sync::watch;

use super::super::context::{Context, off_runtime};
use super::super::status::Refusal;
use super::At;
use super::life::{Life, Turn};
use super::plan::Plan;
use crate::event::Position;
use crate::fold::{PositionChanges, Stretch, Views};
use crate::proto::watch_connections_response::Message as Body;
use crate::proto::{CaughtUp, FellBehind, Heartbeat};

/// Looked at between two chances for others to run, and all that a slow reader keeps alive.
const CHANGES_AT_ONCE: usize = 256;

pub(super) struct Live {
    context: Arc<Context>,
    plan: Arc<Plan>,
    life: Life,
    views: watch::Receiver<Arc<Views>>,
    /// Everything up to here has been sent.
    at: At,
    /// What follows, and where the watch is when it has been sent.
    pending: vec::IntoIter<Arc<PositionChanges>>,
    through: At,
}

impl Live {
    pub fn new(context: &Arc<Context>, plan: &Arc<Plan>, life: Life, at: At) -> Self {
        let (views, pending) = (context.views.clone(), Vec::new().into_iter());
        Self { context: context.clone(), plan: plan.clone(), life, views, at, pending, through: at }
    }

    /// The next message, and where the watch is after it.
    pub async fn next(&mut self) -> Result<(At, Body), Refusal> {
        if let Some(going_away) = self.life.check()? {
            return Ok((self.at, Body::GoingAway(going_away)));
        }
        loop {
            if let Some(body) = self.next_change().await? {
                return Ok((self.at, body));
            }
            if self.life.has_caught_up(self.at.position) {
                return Ok((self.at, Body::CaughtUp(CaughtUp {})));
            }
            match self.life.turn(beyond(&mut self.views, self.at.position)).await {
                Turn::Heartbeat => return Ok((self.at, Body::Heartbeat(Heartbeat {}))),
                Turn::End(refusal) => return self.end(refusal),
                Turn::More if self.has_fallen_behind() => return Ok((self.at, Body::FellBehind(FellBehind {}))),
                Turn::More => self.take().await?,
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Whether the end has been announced.
    pub fn is_ending(&self) -> bool {
        self.life.is_ending()
    }

    /// A planned end is announced first; then [`Self::next`] brings it.
    pub fn end(&mut self, refusal: Refusal) -> Result<(At, Body), Refusal> {
        self.life.end(refusal).map(|going_away| (self.at, Body::GoingAway(going_away)))
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
            let Some(batch) = batch else { continue };
            let batch = if self.plan.asks_for_the_event() {
                let plan = self.plan.clone();
                let event = self.context.read(move |reader| reader.get(at.position)).await?;
                plan.with_event(batch, event.ok_or(Refusal::EventNotFound)?)
            } else {
                Some(batch)
            };
            if let Some(batch) = batch {
                return Ok(Some(Body::ChangeBatch(batch)));
            }
        }
        self.at = self.through;
        Ok(None)
    }

    fn has_fallen_behind(&mut self) -> bool {
        let views = self.views.borrow();
        !views.are_at_hand(self.at.position) && self.life.has_fallen_behind(views.position())
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
}

/// Until the views are past a position. Views that have come to their end never are: what ends then is the state.
async fn beyond(views: &mut watch::Receiver<Arc<Views>>, position: Position) {
    if views.wait_for(|views| views.position() > position).await.is_err() {
        std::future::pending::<()>().await;
    }
}
