//! What follows a position, for ever: from the feed of all who ask alike, or, until it has caught up, by reading for itself.
//! Here the promises of a watch are kept, whatever it is of.

use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::vec;

use tokio::sync::watch;

use super::super::quota::Reservation;
use super::super::scans::send_first;
use super::super::status::Refusal;
use super::At;
use super::feed::{Feed, Next, Seen};
use super::feeds::Feeds;
use super::life::{Life, Turn};
use crate::event::Position;
use crate::proto::GoingAway;

/// What is watched: how to read it, and how it is told. What takes long goes on while heartbeats are sent, so it borrows nothing.
pub(super) trait Source: Send + Sync + 'static {
    type Query: Eq + Hash + Send + Sync;
    /// What of it a feed has.
    type Shared: Send + Sync + 'static;
    /// What of it one has read for itself.
    type Own: Send + Sync + 'static;
    type Batch: Send + 'static;

    /// As far as can be read.
    fn end(&self) -> Position;

    /// Until more can be read than up to a position; never, if no more comes.
    fn grown(&self, after: Position) -> impl Future<Output = ()> + Send;

    /// A little of what follows a position.
    fn read(self: Arc<Self>, after: At) -> impl Future<Output = Result<Run<Self::Own>, Refusal>> + Send + 'static;

    /// `None` if nothing of it is for the query.
    fn tell(
        self: Arc<Self>,
        own: Self::Own,
    ) -> impl Future<Output = Result<Option<Self::Batch>, Refusal>> + Send + 'static;

    /// The same, for all who ask alike.
    fn tell_all(
        self: Arc<Self>,
        feed: Arc<Feed<Self::Shared>>,
        shared: Arc<Seen<Self::Shared>>,
    ) -> impl Future<Output = Result<Option<Self::Batch>, Refusal>> + Send + 'static;

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

/// What a watch does, however many heartbeats it sends meanwhile.
type Work<S> = Pin<Box<dyn Future<Output = Result<Done<S>, Refusal>> + Send>>;

/// What came of it.
enum Done<S: Source> {
    Read(Run<S::Own>),
    /// What there is to send, if anything, and where the watch is then.
    Told(At, Option<S::Batch>),
}

pub(super) struct Live<S: Source> {
    source: Arc<S>,
    feeds: Arc<Feeds<S::Query, S::Shared>>,
    feed: Arc<Feed<S::Shared>>,
    newest: watch::Receiver<Position>,
    life: Life,
    /// Everything up to here has been sent.
    at: At,
    work: Option<Work<S>>,
    /// What follows, read for itself.
    pending: vec::IntoIter<Seen<S::Own>>,
    /// Where the watch is when all that is pending, or being told, has been sent.
    through: At,
    /// For what is pending.
    charge: Option<Reservation>,
}

impl<S: Source> Live<S> {
    pub fn new(source: S, feeds: &Arc<Feeds<S::Query, S::Shared>>, query: &Arc<S::Query>, life: Life, at: At) -> Self {
        let feed = feeds.of(query);
        let (newest, feeds, pending) = (feed.newest(), feeds.clone(), Vec::new().into_iter());
        let source = Arc::new(source);
        Self { source, feeds, feed, newest, life, at, work: None, pending, through: at, charge: None }
    }

    /// The next message, and where the watch is after it.
    pub async fn next(&mut self) -> Result<(At, Told<S::Batch>), Refusal> {
        if let Some(going_away) = self.life.check()? {
            return Ok((self.at, Told::GoingAway(going_away)));
        }
        loop {
            if self.work.is_none() {
                self.work = self.tell();
            }
            let told = if let Some(work) = self.work.take() { self.finish(work).await } else { self.wait().await };
            match told {
                Ok(Some(told)) => return Ok((self.at, told)),
                Ok(None) => tokio::task::coop::consume_budget().await,
                Err(refusal) => return self.end(refusal),
            }
        }
    }

    /// Goes on with work until it is done, or a heartbeat is due first.
    async fn finish(&mut self, mut work: Work<S>) -> Result<Option<Told<S::Batch>>, Refusal> {
        match self.life.finish(work.as_mut()).await {
            Turn::Done(done) => Ok(self.take(done?).map(Told::Batch)),
            Turn::Heartbeat => {
                self.work = Some(work);
                Ok(Some(Told::Heartbeat))
            }
            Turn::End(refusal) => Err(refusal),
        }
    }

    /// Waits for what follows all that was sent.
    async fn wait(&mut self) -> Result<Option<Told<S::Batch>>, Refusal> {
        if self.life.has_caught_up(self.at.position) {
            return Ok(Some(Told::CaughtUp));
        }
        let (after, by_itself) = (self.at.position, self.reads_for_itself());
        let turn = if by_itself {
            self.life.wait(self.source.grown(after)).await
        } else {
            self.life.wait(told_beyond(&mut self.newest, after)).await
        };
        match turn {
            Turn::Done(()) if !by_itself => {}
            Turn::Done(()) if self.has_fallen_behind() => return Ok(Some(Told::FellBehind)),
            Turn::Heartbeat => {
                self.pass();
                return Ok(Some(Told::Heartbeat));
            }
            Turn::End(refusal) if !matches!(refusal, Refusal::ShuttingDown) || self.source.end() <= after => {
                self.pass();
                return Err(refusal);
            }
            // At a stop all is there that will be, and the feeds may not have come so far.
            Turn::Done(()) | Turn::End(_) => self.work = Some(self.read()),
        }
        Ok(None)
    }

    /// Waits for a part of the snapshot; returns `None` when a heartbeat is due first.
    pub async fn wait_for_part<T>(
        &mut self,
        part: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<Option<T>, Refusal> {
        match self.life.finish(part).await {
            Turn::Done(part) => part.map(Some),
            Turn::End(refusal) => Err(refusal),
            Turn::Heartbeat => Ok(None),
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

    /// Begins to tell what is there, if anything is.
    fn tell(&mut self) -> Option<Work<S>> {
        let source = self.source.clone();
        if let Some(Seen { at, what, .. }) = self.pending.next() {
            return Some(Box::pin(async move { Ok(Done::Told(at, source.tell(what).await?)) }));
        }
        self.at = self.through;
        if self.life.is_catching_up() {
            return None;
        }
        let Next::Seen(shared) = self.feed.next(self.at.position) else { return None };
        let (at, feed) = (shared.at, self.feed.clone());
        self.through = at;
        Some(Box::pin(async move { Ok(Done::Told(at, source.tell_all(feed, shared).await?)) }))
    }

    fn read(&self) -> Work<S> {
        let read = self.source.clone().read(self.at);
        Box::pin(async move {
            send_first().await;
            Ok(Done::Read(read.await?))
        })
    }

    /// What there is to send, if anything.
    fn take(&mut self, done: Done<S>) -> Option<S::Batch> {
        let batch = match done {
            Done::Read(Run { seen, through, charge }) => {
                (self.pending, self.through, self.charge) = (seen.into_iter(), through, charge);
                None
            }
            Done::Told(at, batch) => {
                self.at = at;
                batch
            }
        };
        if self.pending.as_slice().is_empty() {
            self.charge = None;
        }
        batch
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
}

/// Until the feed has something that is past a position.
async fn told_beyond(newest: &mut watch::Receiver<Position>, position: Position) {
    if newest.wait_for(|newest| *newest > position).await.is_err() {
        std::future::pending::<()>().await;
    }
}
