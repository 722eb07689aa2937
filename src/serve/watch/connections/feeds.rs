//! Feeds of changes: follows the views for all watches of them, and matches each change against each query once. Knows
//! nothing of how a change is shown.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch;

use super::query::{Query, external_ids};
use super::source::SharedChanges;
use crate::event::Position;
use crate::fold::{Stretch, Views};
use crate::serve::limits::scans::off_runtime;
use crate::serve::refusal::Refusal;
use crate::serve::watch::shared::Feeds;

/// Maximum number of changes matched before other tasks may run, and watches may begin.
const CHANGES_AT_ONCE: usize = 64;

pub type ChangeFeeds = Feeds<Query, SharedChanges>;

impl ChangeFeeds {
    pub fn of_views(views: &Views) -> Self {
        Self::after(views.cursor())
    }

    /// Follows the views. Never returns.
    pub async fn follow(&self, mut views: watch::Receiver<Arc<Views>>) -> Infallible {
        loop {
            let through = self.through().position;
            let is_newer = |views: &Arc<Views>| views.is_readable() && views.position() > through;
            let Ok(newer) = views.wait_for(is_newer).await.map(|views| views.clone()) else {
                // The views have come to their end, so there is nothing left to follow.
                return std::future::pending().await;
            };
            self.go_on(&newer).await;
        }
    }

    async fn go_on(&self, views: &Arc<Views>) {
        let end = views.cursor();
        while self.is_asked(end) && self.through().position < end.position {
            match changes(views, self.through().position).await {
                Ok(stretch) => self.take(&stretch, views),
                Err(error) => {
                    tracing::error!(%error, "changes cannot be read for a feed; each watch reads them on its own");
                    self.miss(end);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn take(&self, Stretch { changes, through }: &Stretch, views: &Views) {
        let (external_ids, floor) = (external_ids(changes), views.floor());
        self.advance(*through, |query, feed| {
            if query.may_see(&external_ids) {
                feed.take(changes.iter().filter(|changes| query.sees(changes)).map(SharedChanges::new));
            }
            feed.drop_to(floor);
        });
    }
}

/// Returns the changes after a position: from the ring, or else, off the runtime, from the change log.
async fn changes(views: &Arc<Views>, after: Position) -> Result<Stretch, Refusal> {
    if views.floor() <= after {
        return Ok(views.changes_after(after, CHANGES_AT_ONCE)?);
    }
    let views = views.clone();
    Ok(off_runtime(move || views.changes_after(after, CHANGES_AT_ONCE)).await??)
}
