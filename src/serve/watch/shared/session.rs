//! The endless part of a watch: everything after a position. It reads for itself until it has caught up, and then takes
//! batches from the feed of all watches with the same query. The promises of a watch are kept here, whatever its
//! source. Knows nothing of the source's content.

use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::vec;

use tokio::sync::watch;

use super::feed::{Feed, FeedEntry, NextEntry};
use super::lifecycle::{Lifecycle, WaitOutcome};
use super::registry::Feeds;
use crate::event::{Cursor, Position};
use crate::proto::GoingAway;
use crate::serve::limits::Reservation;
use crate::serve::limits::scans::send_first;
use crate::serve::refusal::Refusal;

/// Source of a watch: how to read it, and how to make batches of it. Slow work goes on while heartbeats are sent, so it
/// borrows nothing.
pub trait WatchSource: Send + Sync + 'static {
    type Query: Eq + Hash + Send + Sync;
    /// Item of a feed.
    type Shared: Send + Sync + 'static;
    /// Item that a watch has read for itself.
    type Own: Send + Sync + 'static;
    type Batch: Send + 'static;

    /// Returns the last position that can be read.
    fn end(&self) -> Position;

    /// Resolves when more than up to `after` can be read. Never resolves if no more comes.
    fn grown(&self, after: Position) -> impl Future<Output = ()> + Send;

    /// Reads a few items after a position.
    fn read(
        self: Arc<Self>,
        after: Cursor,
    ) -> impl Future<Output = Result<WatchRun<Self::Own>, Refusal>> + Send + 'static;

    /// Makes a batch of an item. `None` if nothing of it is for the query.
    fn tell(
        self: Arc<Self>,
        own: Self::Own,
    ) -> impl Future<Output = Result<Option<Self::Batch>, Refusal>> + Send + 'static;

    /// Like [`Self::tell`], but for all watches with the same query.
    fn tell_all(
        self: Arc<Self>,
        feed: Arc<Feed<Self::Shared>>,
        shared: Arc<FeedEntry<Self::Shared>>,
    ) -> impl Future<Output = Result<Option<Self::Batch>, Refusal>> + Send + 'static;

    /// Whether the items after a position are no longer in memory, so that reading them takes long.
    fn is_behind(&self, at: Position) -> bool;
}

/// All items after a position, up to another.
pub struct WatchRun<T> {
    pub seen: Vec<FeedEntry<T>>,
    pub through: Cursor,
    /// Charge for items read from disk, until they have been sent. `None` if they were in memory.
    pub charge: Option<Reservation>,
}

pub enum SessionMessage<B> {
    Batch(B),
    CaughtUp,
    FellBehind,
    Heartbeat,
    GoingAway(GoingAway),
}

/// Work of a watch. Heartbeats are sent while it goes on.
type SessionWork<S> = Pin<Box<dyn Future<Output = Result<Done<S>, Refusal>> + Send>>;

/// Result of the work.
enum Done<S: WatchSource> {
    Read(WatchRun<S::Own>),
    /// Progress after the batch, and the batch. `None` if there is nothing to send.
    Batch(Cursor, Option<S::Batch>),
}

pub struct Session<S: WatchSource> {
    source: Arc<S>,
    feeds: Arc<Feeds<S::Query, S::Shared>>,
    feed: Arc<Feed<S::Shared>>,
    newest: watch::Receiver<Position>,
    life: Lifecycle,
    /// Everything up to here has been sent.
    at: Cursor,
    work: Option<SessionWork<S>>,
    /// Next items, which the watch has read for itself.
    pending: vec::IntoIter<FeedEntry<S::Own>>,
    /// Progress once all pending items, or the batch in work, have been sent.
    through: Cursor,
    /// Charge for the pending items.
    charge: Option<Reservation>,
}

impl<S: WatchSource> Session<S> {
    pub fn new(
        source: S,
        feeds: &Arc<Feeds<S::Query, S::Shared>>,
        query: &Arc<S::Query>,
        life: Lifecycle,
        at: Cursor,
    ) -> Self {
        let feed = feeds.of(query);
        let (newest, feeds, pending) = (feed.newest(), feeds.clone(), Vec::new().into_iter());
        let source = Arc::new(source);
        Self { source, feeds, feed, newest, life, at, work: None, pending, through: at, charge: None }
    }

    /// Returns the next message, and the progress after it.
    pub async fn next(&mut self) -> Result<(Cursor, SessionMessage<S::Batch>), Refusal> {
        if let Some(going_away) = self.life.check()? {
            return Ok((self.at, SessionMessage::GoingAway(going_away)));
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

    /// Continues the work until it is done, or a heartbeat is due first.
    async fn finish(&mut self, mut work: SessionWork<S>) -> Result<Option<SessionMessage<S::Batch>>, Refusal> {
        match self.life.finish(work.as_mut()).await {
            WaitOutcome::Done(done) => Ok(self.take(done?).map(SessionMessage::Batch)),
            WaitOutcome::Heartbeat => {
                self.work = Some(work);
                Ok(Some(SessionMessage::Heartbeat))
            }
            WaitOutcome::End(refusal) => Err(refusal),
        }
    }

    /// Waits for items after everything that was sent.
    async fn wait(&mut self) -> Result<Option<SessionMessage<S::Batch>>, Refusal> {
        if self.life.has_caught_up(self.at.position) {
            return Ok(Some(SessionMessage::CaughtUp));
        }
        let (after, by_itself) = (self.at.position, self.reads_for_itself());
        let turn = if by_itself {
            self.life.wait(self.source.grown(after)).await
        } else {
            self.life.wait(told_beyond(&mut self.newest, after)).await
        };
        match turn {
            WaitOutcome::Done(()) if !by_itself => {}
            WaitOutcome::Done(()) if self.has_fallen_behind() => return Ok(Some(SessionMessage::FellBehind)),
            WaitOutcome::Heartbeat => {
                self.pass();
                return Ok(Some(SessionMessage::Heartbeat));
            }
            WaitOutcome::End(refusal) if !matches!(refusal, Refusal::ShuttingDown) || self.source.end() <= after => {
                self.pass();
                return Err(refusal);
            }
            // At a shutdown no more items come, and the feeds may not have reached the last one.
            WaitOutcome::Done(()) | WaitOutcome::End(_) => self.work = Some(self.read()),
        }
        Ok(None)
    }

    /// Waits for a part of the snapshot. Returns `None` if a heartbeat is due first.
    pub async fn wait_for_part<T>(
        &mut self,
        part: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<Option<T>, Refusal> {
        match self.life.finish(part).await {
            WaitOutcome::Done(part) => part.map(Some),
            WaitOutcome::End(refusal) => Err(refusal),
            WaitOutcome::Heartbeat => Ok(None),
        }
    }

    /// Whether the end has been announced.
    pub fn is_ending(&self) -> bool {
        self.life.is_ending()
    }

    /// Ends the watch. A planned end is announced first; then [`Self::next`] returns it.
    pub fn end(&mut self, refusal: Refusal) -> Result<(Cursor, SessionMessage<S::Batch>), Refusal> {
        self.life.end(refusal).map(|going_away| (self.at, SessionMessage::GoingAway(going_away)))
    }

    /// Begins to make the next batch, if there is an item.
    fn tell(&mut self) -> Option<SessionWork<S>> {
        let source = self.source.clone();
        if let Some(FeedEntry { at, what, .. }) = self.pending.next() {
            return Some(Box::pin(async move { Ok(Done::Batch(at, source.tell(what).await?)) }));
        }
        self.at = self.through;
        if self.life.is_catching_up() {
            return None;
        }
        let NextEntry::Found(shared) = self.feed.next(self.at.position) else { return None };
        let (at, feed) = (shared.at, self.feed.clone());
        self.through = at;
        Some(Box::pin(async move { Ok(Done::Batch(at, source.tell_all(feed, shared).await?)) }))
    }

    fn read(&self) -> SessionWork<S> {
        let read = self.source.clone().read(self.at);
        Box::pin(async move {
            send_first().await;
            Ok(Done::Read(read.await?))
        })
    }

    /// Takes the result of the work. Returns the batch to send, if any.
    fn take(&mut self, done: Done<S>) -> Option<S::Batch> {
        let batch = match done {
            Done::Read(WatchRun { seen, through, charge }) => {
                (self.pending, self.through, self.charge) = (seen.into_iter(), through, charge);
                None
            }
            Done::Batch(at, batch) => {
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
        self.life.is_catching_up() || matches!(self.feed.next(self.at.position), NextEntry::Missed)
    }

    /// Advances to the position of the feeds, if there is nothing to send before it.
    fn pass(&mut self) {
        let through = self.feeds.through();
        let nothing = matches!(self.feed.next(self.at.position), NextEntry::Nothing);
        if nothing && through.position > self.at.position {
            (self.at, self.through) = (through, through);
        }
    }

    fn has_fallen_behind(&mut self) -> bool {
        self.source.is_behind(self.at.position) && self.life.has_fallen_behind(self.source.end())
    }
}

/// Resolves when the feed has an item past a position.
async fn told_beyond(newest: &mut watch::Receiver<Position>, position: Position) {
    if newest.wait_for(|newest| *newest > position).await.is_err() {
        std::future::pending::<()>().await;
    }
}
