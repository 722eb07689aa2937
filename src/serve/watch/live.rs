//! What changes after a position, for ever: from the feed of its query, or, until it has caught up, by reading for itself.

use std::sync::Arc;
use std::vec;

use tokio::sync::watch;

use super::super::context::{Context, off_runtime};
use super::super::status::Refusal;
use super::At;
use super::feed::{Feed, Next};
use super::feeds::Feeds;
use super::life::{Life, Turn};
use super::plan::Plan;
use super::query::Query;
use super::render::render;
use crate::event::Position;
use crate::fold::{PositionChanges, Stretch, Views};
use crate::proto::watch_connections_response::Message as Body;
use crate::proto::{CaughtUp, ChangeBatch, FellBehind, Heartbeat};

/// Looked at between two chances for others to run, and all that a slow reader keeps alive.
const CHANGES_AT_ONCE: usize = 256;

pub(super) struct Live {
    context: Arc<Context>,
    feeds: Arc<Feeds>,
    query: Arc<Query>,
    feed: Arc<Feed>,
    life: Life,
    views: watch::Receiver<Arc<Views>>,
    newest: watch::Receiver<Position>,
    /// Everything up to here has been sent.
    at: At,
    /// What follows, read for itself, and where the watch is when it has been sent.
    pending: vec::IntoIter<Arc<PositionChanges>>,
    through: At,
}

impl Live {
    pub fn new(context: &Arc<Context>, feeds: &Arc<Feeds>, plan: &Plan, life: Life, at: At) -> Self {
        let feed = feeds.of(&plan.query);
        Self {
            context: context.clone(),
            feeds: feeds.clone(),
            query: plan.query.clone(),
            life,
            views: context.views.clone(),
            newest: feed.newest(),
            feed,
            at,
            pending: Vec::new().into_iter(),
            through: at,
        }
    }

    /// The next message, and where the watch is after it.
    pub async fn next(&mut self) -> Result<(At, Body), Refusal> {
        if let Some(going_away) = self.life.check()? {
            return Ok((self.at, Body::GoingAway(going_away)));
        }
        loop {
            if let Some(batch) = self.next_change().await? {
                return Ok((self.at, Body::ChangeBatch(batch)));
            }
            if self.life.has_caught_up(self.at.position) {
                return Ok((self.at, Body::CaughtUp(CaughtUp {})));
            }
            let (after, by_itself) = (self.at.position, self.reads_for_itself());
            let turn = if by_itself {
                self.life.turn(beyond(&mut self.views, after)).await
            } else {
                self.life.turn(told_beyond(&mut self.newest, after)).await
            };
            match turn {
                Turn::More if !by_itself => {}
                Turn::More if self.has_fallen_behind() => return Ok((self.at, Body::FellBehind(FellBehind {}))),
                Turn::More => self.take().await?,
                Turn::Heartbeat => {
                    self.pass();
                    return Ok((self.at, Body::Heartbeat(Heartbeat {})));
                }
                // The views are final, the feeds may not have come so far.
                Turn::End(Refusal::ShuttingDown) if self.views.borrow().position() > after => self.take().await?,
                Turn::End(refusal) => {
                    self.pass();
                    return self.end(refusal);
                }
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

    async fn next_change(&mut self) -> Result<Option<ChangeBatch>, Refusal> {
        for changes in self.pending.by_ref() {
            let batch = render(&self.context, &self.query, &changes).await?;
            self.at = At { position: changes.position, chain: changes.chain };
            if batch.is_some() {
                return Ok(batch);
            }
        }
        self.at = self.through;
        while !self.life.is_catching_up()
            && let Next::Seen(seen) = self.feed.next(self.at.position)
        {
            let batch = self.feed.show(&self.context, &seen, Arc::strong_count(&self.feed)).await?;
            (self.at, self.through) = (seen.at(), seen.at());
            if batch.is_some() {
                return Ok(batch);
            }
        }
        Ok(None)
    }

    fn reads_for_itself(&self) -> bool {
        self.life.is_catching_up() || matches!(self.feed.next(self.at.position), Next::Missed)
    }

    /// Where the feeds are, if nothing is to be sent until there.
    fn pass(&mut self) {
        let through = self.feeds.through();
        let nothing = matches!(self.feed.next(self.at.position), Next::Nothing);
        if nothing && through.position > self.at.position {
            (self.at, self.through) = (through, through);
        }
    }

    fn has_fallen_behind(&mut self) -> bool {
        let views = self.views.borrow();
        views.floor() > self.at.position && self.life.has_fallen_behind(views.position())
    }

    /// Takes a few changes, and lets go of the views.
    async fn take(&mut self) -> Result<(), Refusal> {
        let (views, after) = (self.views.borrow().clone(), self.at.position);
        let stretch = if views.floor() <= after {
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

/// Until the feed has something that is past a position.
async fn told_beyond(newest: &mut watch::Receiver<Position>, position: Position) {
    if newest.wait_for(|newest| *newest > position).await.is_err() {
        std::future::pending::<()>().await;
    }
}
