//! Changes of connections and exports as a source: read from the views, shown as a query asks.

use std::sync::Arc;

use prost::Message as _;
use tokio::sync::{OnceCell, watch};

use super::super::context::Context;
use super::super::scans::off_runtime;
use super::super::status::Refusal;
use super::At;
use super::feed::{Feed, Seen};
use super::live::{Run, Source};
use super::query::Query;
use super::render::render;
use crate::event::Position;
use crate::fold::{PositionChanges, Stretch, Views};
use crate::proto::ChangeBatch;

/// Looked at between two chances for others to run, and all that a slow reader keeps alive.
const CHANGES_AT_ONCE: usize = 256;

/// One position's changes in a feed, shown by the first who asks.
pub(in super::super) struct Shared {
    changes: Arc<PositionChanges>,
    shown: OnceCell<Option<ChangeBatch>>,
}

impl Shared {
    pub(super) fn new(changes: &Arc<PositionChanges>) -> Seen<Self> {
        seen(changes, Self { changes: changes.clone(), shown: OnceCell::new() })
    }
}

pub(super) struct Changes {
    context: Arc<Context>,
    query: Arc<Query>,
    views: watch::Receiver<Arc<Views>>,
}

impl Changes {
    pub fn of(context: &Arc<Context>, query: &Arc<Query>) -> Self {
        Self { context: context.clone(), query: query.clone(), views: context.views.clone() }
    }
}

impl Source for Changes {
    type Query = Query;
    type Shared = Shared;
    type Own = Arc<PositionChanges>;
    type Batch = ChangeBatch;

    fn end(&self) -> Position {
        self.context.readable().map_or(0, |views| views.position())
    }

    /// Views that have come to their end grow no more: what ends then is the state.
    async fn grown(&mut self, after: Position) {
        if self.views.wait_for(|views| views.is_readable() && views.position() > after).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes a few changes, and lets go of the views.
    async fn read(&mut self, after: At) -> Result<Run<Self::Own>, Refusal> {
        let views = self.context.readable()?;
        let Stretch { changes, through, chain } = changes(&views, after.position, CHANGES_AT_ONCE).await?;
        let seen = changes.iter().map(|changes| seen(changes, changes.clone()));
        Ok(Run { seen: seen.collect(), through: At { position: through, chain } })
    }

    async fn tell(&self, changes: Self::Own) -> Result<Option<ChangeBatch>, Refusal> {
        Ok(render(&self.context, &self.query, &changes).await?.map(ChangeBatch::from))
    }

    async fn tell_all(&self, feed: &Arc<Feed<Shared>>, shared: &Seen<Shared>) -> Result<Option<ChangeBatch>, Refusal> {
        let mut first = false;
        let render = async || -> Result<_, Refusal> {
            first = true;
            let batch = render(&self.context, &self.query, &shared.what.changes).await?;
            Ok(batch.as_ref().map(ChangeBatch::encoded))
        };
        let shown = shared.what.shown.get_or_try_init(render).await?;
        if let (true, Some(shown)) = (first, shown) {
            feed.weigh(shared.at.position, shown.encoded_len(), Arc::strong_count(feed));
        }
        Ok(shown.clone())
    }

    fn is_behind(&self, at: Position) -> bool {
        self.context.readable().is_ok_and(|views| views.floor() > at)
    }
}

fn seen<T>(changes: &PositionChanges, what: T) -> Seen<T> {
    let at = At { position: changes.position, chain: changes.chain };
    Seen { first: changes.position, at, what }
}

/// At most so many that follow a position: from the ring, or else, off the runtime, from the change log.
pub(super) async fn changes(views: &Arc<Views>, after: Position, count_max: usize) -> Result<Stretch, Refusal> {
    if views.floor() <= after {
        return Ok(views.changes_after(after, count_max)?);
    }
    let views = views.clone();
    Ok(off_runtime(move || views.changes_after(after, count_max)).await??)
}
