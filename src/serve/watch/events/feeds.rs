//! Feeds of events: follows the log for all watches of it, and matches each event against each filter once. Knows
//! nothing of the views.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use prost::Message as _;

use crate::event::{Cursor, Event};
use crate::log::{Reader, Selection, Tail};
use crate::proto::{EventBatch, Events};
use crate::serve::limits::scans::off_runtime;
use crate::serve::query::EventFilter;
use crate::serve::refusal::Refusal;
use crate::serve::watch::shared::{FeedEntry, Feeds};

/// Matches of each filter among events that are stored together. `None` if there are none.
type Matching = HashMap<Arc<EventFilter>, Option<FeedEntry<EventBatch>>>;

pub type EventFeeds = Feeds<EventFilter, EventBatch>;

impl EventFeeds {
    pub fn of_log(reader: &Reader) -> Self {
        let head = reader.head();
        Self::after(head.cursor())
    }

    /// Follows the log. Never returns.
    pub async fn follow(&self, reader: &Reader) -> Infallible {
        let mut tail = reader.tail(self.through().position);
        while tail.wait().await {
            let head = reader.head();
            let end = head.cursor();
            let next = if self.is_asked(end) { next(tail, self.queries()).await.map(Some) } else { Ok(None) };
            tail = match next {
                Ok(Some((tail, through, matching))) => {
                    self.take(through, matching);
                    tail
                }
                // Continues after events that are not asked for, or cannot be read.
                Ok(None) => reader.tail(end.position),
                Err(error) => {
                    tracing::error!(%error, "events cannot be read for a feed; each watch reads them on its own");
                    self.miss(end);
                    reader.tail(end.position)
                }
            };
        }
        // The log is closed.
        std::future::pending().await
    }

    fn take(&self, through: Cursor, mut matching: Matching) {
        self.advance(through, |filter, feed| match matching.remove(filter) {
            Some(Some(seen)) => {
                let bytes = seen.what.encoded_len();
                feed.take([seen]);
                feed.weigh(through.position, bytes);
            }
            Some(None) => {}
            // The filter came while events were matched against the others.
            None => feed.miss(through.position),
        });
    }
}

/// Matches the next events that are stored together.
async fn next(mut tail: Tail, filters: Vec<Arc<EventFilter>>) -> Result<(Tail, Cursor, Matching), Refusal> {
    off_runtime(move || {
        let selected = tail.select(|header| filters.iter().any(|filter| filter.may_match(header)))?;
        let Selection { events, through, chain, .. } = selected.ok_or(Refusal::Internal)?;
        let through = Cursor::new(through, &chain);
        let seen = |filter: Arc<EventFilter>| {
            let seen = matching(&filter, events.iter().cloned(), through, |events| EventBatch::encoded(&events));
            (filter, seen)
        };
        Ok((tail, through, filters.iter().cloned().map(seen).collect()))
    })
    .await?
}

/// Returns the matches of a filter among events that are stored together, up to `at`. `None` if there are none.
pub fn matching(
    filter: &EventFilter,
    events: impl IntoIterator<Item = Event>,
    at: Cursor,
    batch: impl FnOnce(Events) -> EventBatch,
) -> Option<FeedEntry<EventBatch>> {
    let events: Vec<_> = events.into_iter().filter_map(|event| filter.matching(event)).collect();
    let first = events.first()?.position;
    Some(FeedEntry { first, at, what: batch(Events { events }) })
}
