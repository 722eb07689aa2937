//! Source of one watch: changes of connections and exports, read from the views and shown as its query asks. Knows
//! nothing of when they are sent.

use std::sync::Arc;

use prost::Message as _;
use tokio::sync::OnceCell;

use super::query::Query;
use super::render::{reads_disk, render};
use crate::event::{Cursor, Position};
use crate::fold::{ChangeRange, PositionChanges};
use crate::proto::ChangeBatch;
use crate::serve::limits::scans::{independently, yield_to_sender};
use crate::serve::limits::{Caller, Reservation};
use crate::serve::read::Context;
use crate::serve::refusal::Refusal;
use crate::serve::watch::shared::{Feed, FeedEntry, WatchRange, WatchSource};

/// Maximum number of changes read before other tasks may run. A slow reader keeps no more than these alive.
const CHANGES_AT_ONCE: usize = 256;
/// Memory that the changes of one block of the change log take, unless one of them is large.
const READ_BYTES: usize = 256 * 1024;

/// Changes of one position in a feed. The first watch that needs them encodes them for all.
pub struct SharedChanges {
    changes: Arc<PositionChanges>,
    shown: OnceCell<Option<ChangeBatch>>,
}

impl SharedChanges {
    pub fn new(changes: &Arc<PositionChanges>) -> FeedEntry<Self> {
        entry(changes, Self { changes: changes.clone(), shown: OnceCell::new() })
    }
}

pub struct ChangeSource {
    context: Arc<Context>,
    caller: Caller,
    query: Arc<Query>,
}

impl ChangeSource {
    pub fn of(context: &Arc<Context>, caller: Caller, query: &Arc<Query>) -> Self {
        Self { context: context.clone(), caller, query: query.clone() }
    }

    /// Reads from the change log. The memory that this takes is charged first. One large position is read again once
    /// there is room for it: meanwhile neither its changes nor any views are kept in memory.
    async fn read_log(&self, after: Position) -> Result<(ChangeRange, Reservation), Refusal> {
        let mut bytes = READ_BYTES;
        loop {
            let mut charge = self.context.reserve_catch_up(self.caller, bytes).await?;
            let context = self.context.clone();
            let work = move || Ok::<_, Refusal>(context.readable()?.changes_after(after, CHANGES_AT_ONCE)?);
            let stretch = self.context.scans.take_turn(self.caller, work).await??;
            // A position that is larger than the share uses the whole share.
            let needed = stretch.bytes().min(self.context.catch_up.share());
            if needed <= bytes && charge.resize(needed).is_ok() {
                return Ok((stretch, charge));
            }
            bytes = needed;
        }
    }

    async fn show(
        &self,
        feed: &Arc<Feed<SharedChanges>>,
        entry: &FeedEntry<SharedChanges>,
    ) -> Result<Option<ChangeBatch>, Refusal> {
        let mut is_first = false;
        let render = async || -> Result<_, Refusal> {
            is_first = true;
            let batch = render(&self.context, self.caller, &self.query, &entry.content.changes).await?;
            Ok(batch.as_ref().map(ChangeBatch::encoded))
        };
        let shown = entry.content.shown.get_or_try_init(render).await?;
        if is_first && let Some(shown) = shown {
            feed.weigh(entry.at.position, shown.encoded_len());
        }
        Ok(shown.clone())
    }
}

impl WatchSource for ChangeSource {
    type Query = Query;
    type Shared = SharedChanges;
    type Own = Arc<PositionChanges>;
    type Batch = ChangeBatch;

    fn end(&self) -> Position {
        self.context.readable().map_or(0, |views| views.position())
    }

    /// Resolves when the views grow. Views that have come to their end never do: then the serving state ends the watch.
    async fn grown(&self, after: Position) {
        let mut views = self.context.sources.views.clone();
        if views.wait_for(|views| views.is_readable() && views.position() > after).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Reads a few changes, and drops the views.
    async fn read(self: Arc<Self>, after: Cursor) -> Result<WatchRange<Self::Own>, Refusal> {
        let (stretch, charge) = if self.is_behind(after.position) {
            let (stretch, charge) = self.read_log(after.position).await?;
            (stretch, Some(charge))
        } else {
            (self.context.readable()?.changes_after(after.position, CHANGES_AT_ONCE)?, None)
        };
        let ChangeRange { changes, through } = stretch;
        let entries = changes.iter().map(|changes| entry(changes, changes.clone()));
        Ok(WatchRange { entries: entries.collect(), through, charge })
    }

    async fn make_batch(self: Arc<Self>, changes: Self::Own) -> Result<Option<ChangeBatch>, Refusal> {
        if reads_disk(&self.query, &changes) {
            yield_to_sender().await;
        }
        Ok(render(&self.context, self.caller, &self.query, &changes).await?.map(ChangeBatch::from))
    }

    async fn make_shared_batch(
        self: Arc<Self>,
        feed: Arc<Feed<SharedChanges>>,
        entry: Arc<FeedEntry<SharedChanges>>,
    ) -> Result<Option<ChangeBatch>, Refusal> {
        if let Some(shown) = entry.content.shown.get() {
            return Ok(shown.clone());
        }
        if reads_disk(&self.query, &entry.content.changes) {
            yield_to_sender().await;
            return independently(async move { self.show(&feed, &entry).await }).await;
        }
        self.show(&feed, &entry).await
    }

    fn is_behind(&self, at: Position) -> bool {
        self.context.readable().is_ok_and(|views| views.floor() > at)
    }
}

fn entry<T>(changes: &PositionChanges, content: T) -> FeedEntry<T> {
    FeedEntry { first: changes.position, at: changes.cursor(), content }
}
