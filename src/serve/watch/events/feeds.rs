//! Feeds of events, shared by all watches: follows the log, and matches each event against each filter once. Knows
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
use crate::serve::watch::shared::{FeedEntry, FeedRegistry};

pub type EventFeeds = FeedRegistry<EventFilter, EventBatch>;

/// Matches of each filter among events that are stored together. `None` if there are none.
type Matching = HashMap<Arc<EventFilter>, Option<FeedEntry<EventBatch>>>;

/// Events that are stored together, matched against the filters.
struct MatchedEvents {
    /// Continues after these events.
    tail: Tail,
    through: Cursor,
    matching: Matching,
}

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
            self.retire_unused(end);
            if self.through().position >= end.position {
                // No watch asks for these events.
                tail = reader.tail(end.position);
                continue;
            }
            tail = match match_next(tail, self.queries()).await {
                Ok(MatchedEvents { tail, through, matching }) => {
                    self.distribute(through, matching);
                    tail
                }
                Err(error) => {
                    tracing::error!(%error, "events cannot be read for a feed; each watch reads them on its own");
                    self.mark_missed(end);
                    reader.tail(end.position)
                }
            };
        }
        // The log is closed.
        std::future::pending().await
    }

    /// Appends the matches to the feeds of their filters.
    fn distribute(&self, through: Cursor, mut matching: Matching) {
        self.advance(through, |filter, feed| match matching.remove(filter) {
            Some(Some(entry)) => {
                let bytes = entry.content.encoded_len();
                feed.append([entry]);
                feed.weigh(through.position, bytes);
            }
            Some(None) => {}
            // The filter came while events were matched against the others.
            None => feed.mark_missed(through.position),
        });
    }
}

/// Matches the next events that are stored together.
async fn match_next(mut tail: Tail, filters: Vec<Arc<EventFilter>>) -> Result<MatchedEvents, Refusal> {
    off_runtime(move || {
        let selected = tail.select(|header| filters.iter().any(|filter| filter.may_match(header)))?;
        let Selection { events, through, chain, .. } = selected.ok_or(Refusal::Internal)?;
        let through = Cursor::new(through, &chain);
        let entry = |filter: Arc<EventFilter>| {
            let entry = matching(&filter, events.iter().cloned(), through, |events| EventBatch::encoded(&events));
            (filter, entry)
        };
        let matching = filters.iter().cloned().map(entry).collect();
        Ok(MatchedEvents { tail, through, matching })
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
    Some(FeedEntry { first, at, content: batch(Events { events }) })
}
