//! All that is watched for, and what goes on for all of it: each change is held against each query once.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use super::super::context::off_runtime;
use super::super::status::Refusal;
use super::At;
use super::feed::Feed;
use super::query::{Query, external_ids};
use crate::fold::{Stretch, Views};

/// Looked at between two chances for others to run, and for watches to begin.
const CHANGES_AT_ONCE: usize = 64;

pub(in super::super) struct Feeds(Mutex<Table>);

struct Table {
    /// Every feed has what its query sees up to here.
    through: At,
    /// Each for as long as a watch has it.
    open: HashMap<Arc<Query>, Weak<Feed>>,
}

impl Feeds {
    pub fn after(views: &Views) -> Self {
        Self(Mutex::new(Table { through: At::of(views), open: HashMap::new() }))
    }

    /// The feed of all who ask this.
    pub(super) fn of(&self, query: &Arc<Query>) -> Arc<Feed> {
        let mut table = self.table();
        if let Some(feed) = table.open.get(query).and_then(Weak::upgrade) {
            return feed;
        }
        let feed = Arc::new(Feed::after(query.clone(), table.through.position));
        table.open.insert(query.clone(), Arc::downgrade(&feed));
        feed
    }

    /// Every feed has what its query sees up to here.
    pub(super) fn through(&self) -> At {
        self.table().through
    }

    /// Goes on with the views, for ever.
    pub async fn follow(&self, mut views: watch::Receiver<Arc<Views>>) -> Infallible {
        loop {
            let through = self.through().position;
            let Ok(newer) = views.wait_for(|views| views.position() > through).await.map(|views| views.clone()) else {
                // They have come to their end: so has this.
                return std::future::pending().await;
            };
            self.advance(&newer).await;
        }
    }

    async fn advance(&self, views: &Arc<Views>) {
        while let Some(after) = self.after_which(views) {
            match changes(views, after).await {
                Ok(stretch) => self.take(&stretch, views),
                Err(error) => {
                    tracing::error!(%error, "the changes cannot be read; each watch reads for itself");
                    self.miss(At::of(views));
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// None: nothing is left to look at.
    fn after_which(&self, views: &Views) -> Option<At> {
        let mut table = self.table();
        table.open.retain(|_, feed| feed.strong_count() > 0);
        if table.open.is_empty() {
            table.through = At::of(views);
        }
        (table.through.position < views.position()).then_some(table.through)
    }

    fn take(&self, stretch: &Stretch, views: &Views) {
        let mut table = self.table();
        let (external_ids, floor) = (external_ids(&stretch.changes), views.floor());
        for (query, feed) in &table.open {
            let changes: &[_] = if query.may_see(&external_ids) { &stretch.changes } else { &[] };
            if let Some(feed) = feed.upgrade() {
                feed.take(changes, floor);
            }
        }
        table.through = At { position: stretch.through, chain: stretch.chain };
    }

    fn miss(&self, through: At) {
        let mut table = self.table();
        for feed in table.open.values().filter_map(Weak::upgrade) {
            feed.miss(through.position);
        }
        table.through = through;
    }

    /// What is held is whole at every moment, so a panic elsewhere leaves nothing to mend.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn changes(views: &Arc<Views>, after: At) -> Result<Stretch, Refusal> {
    if views.floor() <= after.position {
        return Ok(views.changes_after(after.position, CHANGES_AT_ONCE)?);
    }
    let views = views.clone();
    Ok(off_runtime(move || views.changes_after(after.position, CHANGES_AT_ONCE)).await??)
}
