//! Feeds of changes, shared by all watches: follows the views, and matches each change against each query once. Knows
//! nothing of how a change is shown.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch;

use super::query::{Query, external_ids};
use super::source::SharedChanges;
use crate::event::Position;
use crate::fold::{ChangeRange, Views};
use crate::serve::limits::scans::off_runtime;
use crate::serve::refusal::Refusal;
use crate::serve::watch::shared::FeedRegistry;

/// Maximum number of changes matched before other tasks may run, and watches may begin.
const CHANGES_AT_ONCE: usize = 64;

pub type ChangeFeeds = FeedRegistry<Query, SharedChanges>;

impl ChangeFeeds {
    pub fn of_views(views: &Views) -> Self {
        Self::after(views.cursor())
    }

    /// Follows the views. Never returns.
    pub async fn follow(&self, mut views: watch::Receiver<Arc<Views>>) -> Infallible {
        loop {
            let through = self.through().position;
            let is_newer = |views: &Arc<Views>| views.is_readable() && views.position() > through;
            let Ok(newest) = views.wait_for(is_newer).await.map(|views| views.clone()) else {
                // The views have come to their end, so there is nothing left to follow.
                return std::future::pending().await;
            };
            self.advance_to(&newest).await;
        }
    }

    async fn advance_to(&self, views: &Arc<Views>) {
        let end = views.cursor();
        loop {
            self.retire_unused(end);
            let through = self.through().position;
            if through >= end.position {
                return;
            }
            match changes(views, through).await {
                Ok(stretch) => self.distribute(&stretch, views),
                Err(error) => {
                    tracing::error!(%error, "changes cannot be read for a feed; each watch reads them on its own");
                    self.mark_missed(end);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Appends the changes to the feeds of the queries that see them.
    fn distribute(&self, ChangeRange { changes, through }: &ChangeRange, views: &Views) {
        let external_ids = external_ids(changes);
        let floor = views.floor();
        self.advance(*through, |query, feed| {
            if query.may_see(&external_ids) {
                feed.append(changes.iter().filter(|changes| query.sees(changes)).map(SharedChanges::new));
            }
            feed.drop_to(floor);
        });
    }
}

/// Returns the changes after a position: from the ring, or else, off the runtime, from the change log.
async fn changes(views: &Arc<Views>, after: Position) -> Result<ChangeRange, Refusal> {
    if views.floor() <= after {
        return Ok(views.changes_after(after, CHANGES_AT_ONCE)?);
    }
    let views = views.clone();
    Ok(off_runtime(move || views.changes_after(after, CHANGES_AT_ONCE)).await??)
}
