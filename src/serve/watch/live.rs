//! What follows a position, for ever: from the feed of all who ask alike, or, until it has caught up, by reading for itself.
//! Here the promises of a watch are kept, whatever it is of.

use std::hash::Hash;
use std::sync::Arc;
use std::vec;

use tokio::sync::watch;

use super::super::quota::Reservation;
use super::super::status::Refusal;
use super::At;
use super::feed::{Feed, Next, Seen};
use super::feeds::Feeds;
use super::life::{Life, Turn};
use crate::event::Position;
use crate::proto::GoingAway;

/// What is watched: how to read it, and how it is told.
pub(super) trait Source: Send + Sync {
    type Query: Eq + Hash + Send + Sync;
    /// What of it a feed has.
    type Shared: Send + Sync;
    /// What of it one has read for itself.
    type Own: Send + Sync;
    type Batch: Send;

    /// As far as can be read.
    fn end(&self) -> Position;

    /// Until more can be read than up to a position; never, if no more comes.
    fn grown(&mut self, after: Position) -> impl Future<Output = ()> + Send;

    /// A little of what follows a position.
    fn read(&mut self, after: At) -> impl Future<Output = Result<Run<Self::Own>, Refusal>> + Send;

    /// None: nothing of it is for the query.
    fn tell(&self, own: Self::Own) -> impl Future<Output = Result<Option<Self::Batch>, Refusal>> + Send;

    /// The same, for all who ask alike.
    fn tell_all(
        &self,
        feed: &Arc<Feed<Self::Shared>>,
        shared: &Seen<Self::Shared>,
    ) -> impl Future<Output = Result<Option<Self::Batch>, Refusal>> + Send;

    /// Whether what follows a position is no longer at hand, so that to read it takes long.
    fn is_behind(&self, at: Position) -> bool;
}

/// All that follows a position, up to another.
pub(super) struct Run<T> {
    pub seen: Vec<Seen<T>>,
    pub through: At,
    /// For what was read from disk, until it has been sent. `None` if it was in memory.
    pub charge: Option<Reservation>,
}

pub(super) enum Told<B> {
    Batch(B),
    CaughtUp,
    FellBehind,
    Heartbeat,
    GoingAway(GoingAway),
}

pub(super) struct Live<S: Source> {
    source: S,
    feeds: Arc<Feeds<S::Query, S::Shared>>,
    feed: Arc<Feed<S::Shared>>,
    newest: watch::Receiver<Position>,
    life: Life,
    /// Everything up to here has been sent.
    at: At,
    /// What follows, read for itself, and where the watch is when it has been sent.
    pending: vec::IntoIter<Seen<S::Own>>,
    through: At,
    /// For what is pending.
    charge: Option<Reservation>,
}

impl<S: Source> Live<S> {
    pub fn new(source: S, feeds: &Arc<Feeds<S::Query, S::Shared>>, query: &Arc<S::Query>, life: Life, at: At) -> Self {
        let feed = feeds.of(query);
        let (newest, feeds, pending) = (feed.newest(), feeds.clone(), Vec::new().into_iter());
        Self { source, feeds, feed, newest, life, at, pending, through: at, charge: None }
    }

    /// The next message, and where the watch is after it.
    pub async fn next(&mut self) -> Result<(At, Told<S::Batch>), Refusal> {
        if let Some(going_away) = self.life.check()? {
            return Ok((self.at, Told::GoingAway(going_away)));
        }
        loop {
            if let Some(batch) = self.next_batch().await? {
                return Ok((self.at, Told::Batch(batch)));
            }
            if self.life.has_caught_up(self.at.position) {
                return Ok((self.at, Told::CaughtUp));
            }
            let (after, by_itself) = (self.at.position, self.reads_for_itself());
            let turn = if by_itself {
                self.life.turn(self.source.grown(after)).await
            } else {
                self.life.turn(told_beyond(&mut self.newest, after)).await
            };
            match turn {
                Turn::More if !by_itself => {}
                Turn::More if self.has_fallen_behind() => return Ok((self.at, Told::FellBehind)),
                Turn::Heartbeat => {
                    self.pass();
                    return Ok((self.at, Told::Heartbeat));
                }
                Turn::End(refusal) if !matches!(refusal, Refusal::ShuttingDown) || self.source.end() <= after => {
                    self.pass();
                    return self.end(refusal);
                }
                // At a stop all is there that will be, and the feeds may not have come so far.
                Turn::More | Turn::End(_) => {
                    if let Err(refusal) = self.read().await {
                        return self.end(refusal);
                    }
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
    pub fn end(&mut self, refusal: Refusal) -> Result<(At, Told<S::Batch>), Refusal> {
        self.life.end(refusal).map(|going_away| (self.at, Told::GoingAway(going_away)))
    }

    async fn next_batch(&mut self) -> Result<Option<S::Batch>, Refusal> {
        while let Some(own) = self.pending.next() {
            let batch = self.source.tell(own.what).await?;
            self.at = own.at;
            if self.pending.as_slice().is_empty() {
                self.charge = None;
            }
            if batch.is_some() {
                return Ok(batch);
            }
        }
        self.at = self.through;
        while !self.life.is_catching_up()
            && let Next::Seen(shared) = self.feed.next(self.at.position)
        {
            let batch = self.source.tell_all(&self.feed, &shared).await?;
            (self.at, self.through) = (shared.at, shared.at);
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
        self.source.is_behind(self.at.position) && self.life.has_fallen_behind(self.source.end())
    }

    async fn read(&mut self) -> Result<(), Refusal> {
        let Run { seen, through, charge } = self.source.read(self.at).await?;
        (self.through, self.charge) = (through, charge);
        self.pending = seen.into_iter();
        Ok(())
    }
}

/// Until the feed has something that is past a position.
async fn told_beyond(newest: &mut watch::Receiver<Position>, position: Position) {
    if newest.wait_for(|newest| *newest > position).await.is_err() {
        std::future::pending::<()>().await;
    }
}
