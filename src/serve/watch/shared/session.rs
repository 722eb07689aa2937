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
use super::registry::FeedRegistry;
use crate::event::{Cursor, Position};
use crate::proto::GoingAway;
use crate::serve::limits::Reservation;
use crate::serve::limits::scans::yield_to_sender;
use crate::serve::refusal::Refusal;

/// Source of one watch: how to read it, and how to make batches of it. Slow work goes on while heartbeats are sent, so
/// it borrows nothing.
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
    ) -> impl Future<Output = Result<WatchRange<Self::Own>, Refusal>> + Send + 'static;

    /// Makes a batch of an item that the watch has read for itself. `None` if nothing of it is for the query.
    fn make_batch(
        self: Arc<Self>,
        own: Self::Own,
    ) -> impl Future<Output = Result<Option<Self::Batch>, Refusal>> + Send + 'static;

    /// Makes a batch of an item of the feed, for all watches with the same query.
    fn make_shared_batch(
        self: Arc<Self>,
        feed: Arc<Feed<Self::Shared>>,
        entry: Arc<FeedEntry<Self::Shared>>,
    ) -> impl Future<Output = Result<Option<Self::Batch>, Refusal>> + Send + 'static;

    /// Whether the items after a position are no longer in memory, so that reading them takes long.
    fn is_behind(&self, at: Position) -> bool;
}

/// All items after a position, up to another.
pub struct WatchRange<T> {
    pub entries: Vec<FeedEntry<T>>,
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
type SessionWork<S> = Pin<Box<dyn Future<Output = Result<WorkResult<S>, Refusal>> + Send>>;

enum WorkResult<S: WatchSource> {
    Read(WatchRange<S::Own>),
    Made {
        /// `None` if there is nothing to send.
        batch: Option<S::Batch>,
        /// Progress after the batch.
        at: Cursor,
    },
}

pub struct Session<S: WatchSource> {
    source: Arc<S>,
    feeds: Arc<FeedRegistry<S::Query, S::Shared>>,
    feed: Arc<Feed<S::Shared>>,
    newest: watch::Receiver<Position>,
    lifecycle: Lifecycle,
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
        feeds: &Arc<FeedRegistry<S::Query, S::Shared>>,
        query: &Arc<S::Query>,
        lifecycle: Lifecycle,
        at: Cursor,
    ) -> Self {
        let source = Arc::new(source);
        let feeds = feeds.clone();
        let feed = feeds.open(query);
        let newest = feed.subscribe();
        let pending = Vec::new().into_iter();
        Self { source, feeds, feed, newest, lifecycle, at, work: None, pending, through: at, charge: None }
    }

    /// Returns the next message, and the progress after it.
    pub async fn next(&mut self) -> Result<(Cursor, SessionMessage<S::Batch>), Refusal> {
        if let Some(going_away) = self.lifecycle.check()? {
            return Ok((self.at, SessionMessage::GoingAway(going_away)));
        }
        loop {
            if self.work.is_none() {
                self.work = self.begin_batch();
            }
            let next = if let Some(work) = self.work.take() { self.finish(work).await } else { self.wait().await };
            match next {
                Ok(Some(message)) => return Ok((self.at, message)),
                Ok(None) => tokio::task::coop::consume_budget().await,
                Err(refusal) => return self.end(refusal),
            }
        }
    }

    /// Continues the work until it is done, or a heartbeat is due first.
    async fn finish(&mut self, mut work: SessionWork<S>) -> Result<Option<SessionMessage<S::Batch>>, Refusal> {
        match self.lifecycle.wait_for_work(work.as_mut()).await {
            WaitOutcome::Done(result) => Ok(self.take_result(result?).map(SessionMessage::Batch)),
            WaitOutcome::Heartbeat => {
                self.work = Some(work);
                Ok(Some(SessionMessage::Heartbeat))
            }
            WaitOutcome::End(refusal) => Err(refusal),
        }
    }

    /// Waits for items after everything that was sent.
    async fn wait(&mut self) -> Result<Option<SessionMessage<S::Batch>>, Refusal> {
        if self.lifecycle.take_caught_up(self.at.position) {
            return Ok(Some(SessionMessage::CaughtUp));
        }
        let after = self.at.position;
        let reads_for_itself = self.reads_for_itself();
        let outcome = if reads_for_itself {
            self.lifecycle.wait(self.source.grown(after)).await
        } else {
            self.lifecycle.wait(wait_beyond(&mut self.newest, after)).await
        };
        match outcome {
            WaitOutcome::Done(()) if !reads_for_itself => {}
            WaitOutcome::Done(()) => {
                if self.restart_catch_up() {
                    return Ok(Some(SessionMessage::FellBehind));
                }
                self.work = Some(self.read());
            }
            WaitOutcome::Heartbeat => {
                self.advance_to_feeds();
                return Ok(Some(SessionMessage::Heartbeat));
            }
            WaitOutcome::End(refusal) if !matches!(refusal, Refusal::ShuttingDown) || self.source.end() <= after => {
                self.advance_to_feeds();
                return Err(refusal);
            }
            // At a shutdown no more items come, and the feeds may not have reached the last one.
            WaitOutcome::End(_) => self.work = Some(self.read()),
        }
        Ok(None)
    }

    /// Waits for a part of the snapshot. Returns `None` if a heartbeat is due first.
    pub async fn wait_for_part<T>(
        &mut self,
        part: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<Option<T>, Refusal> {
        match self.lifecycle.wait_for_work(part).await {
            WaitOutcome::Done(part) => part.map(Some),
            WaitOutcome::End(refusal) => Err(refusal),
            WaitOutcome::Heartbeat => Ok(None),
        }
    }

    /// Whether the end has been announced.
    pub fn is_ending(&self) -> bool {
        self.lifecycle.is_ending()
    }

    /// Ends the watch. A planned end is announced first; then [`Self::next`] returns it.
    pub fn end(&mut self, refusal: Refusal) -> Result<(Cursor, SessionMessage<S::Batch>), Refusal> {
        self.lifecycle.end(refusal).map(|going_away| (self.at, SessionMessage::GoingAway(going_away)))
    }

    /// Begins to make the next batch, if there is an item.
    fn begin_batch(&mut self) -> Option<SessionWork<S>> {
        let source = self.source.clone();
        if let Some(FeedEntry { at, content, .. }) = self.pending.next() {
            return Some(Box::pin(async move {
                let batch = source.make_batch(content).await?;
                Ok(WorkResult::Made { batch, at })
            }));
        }
        self.at = self.through;
        if self.lifecycle.is_catching_up() {
            return None;
        }
        let NextEntry::Found(entry) = self.feed.next(self.at.position) else { return None };
        let at = entry.at;
        let feed = self.feed.clone();
        self.through = at;
        Some(Box::pin(async move {
            let batch = source.make_shared_batch(feed, entry).await?;
            Ok(WorkResult::Made { batch, at })
        }))
    }

    fn read(&self) -> SessionWork<S> {
        let read = self.source.clone().read(self.at);
        Box::pin(async move {
            yield_to_sender().await;
            Ok(WorkResult::Read(read.await?))
        })
    }

    /// Takes the result of the work. Returns the batch to send, if any.
    fn take_result(&mut self, result: WorkResult<S>) -> Option<S::Batch> {
        let batch = match result {
            WorkResult::Read(WatchRange { entries, through, charge }) => {
                self.pending = entries.into_iter();
                self.through = through;
                self.charge = charge;
                None
            }
            WorkResult::Made { batch, at } => {
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
        self.lifecycle.is_catching_up() || matches!(self.feed.next(self.at.position), NextEntry::Missed)
    }

    /// Advances to the position of the feeds, if there is nothing to send before it.
    fn advance_to_feeds(&mut self) {
        // Read first: a later entry must not be passed.
        let through = self.feeds.through();
        let is_nothing_left = matches!(self.feed.next(self.at.position), NextEntry::Nothing);
        if is_nothing_left && through.position > self.at.position {
            self.at = through;
            self.through = through;
        }
    }

    /// Begins to catch up again, if the watch has fallen behind. Returns whether it has.
    fn restart_catch_up(&mut self) -> bool {
        self.source.is_behind(self.at.position) && self.lifecycle.restart_catch_up(self.source.end())
    }
}

/// Resolves when the feed has an item past a position.
async fn wait_beyond(newest: &mut watch::Receiver<Position>, position: Position) {
    if newest.wait_for(|newest| *newest > position).await.is_err() {
        std::future::pending::<()>().await;
    }
}
