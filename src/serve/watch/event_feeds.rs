//! Goes on with the log for all who watch its events: each is held against each filter once.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use prost::Message as _;

use super::super::context::off_runtime;
use super::super::event_filter::EventFilter;
use super::super::status::Refusal;
use super::At;
use super::feed::Seen;
use super::feeds::Feeds;
use crate::event::Position;
use crate::log::{Head, Reader, Tail};
use crate::proto::{EventBatch, Events};
use crate::token::chain_prefix;

/// What each filter lets through of what is stored together, and the first position of it; None: nothing.
type Matching = HashMap<Arc<EventFilter>, Option<(Position, EventBatch)>>;

pub(in super::super) type EventFeeds = Feeds<EventFilter, EventBatch>;

impl EventFeeds {
    pub fn of_log(reader: &Reader) -> Self {
        Self::after(head(&reader.head()))
    }

    /// For ever.
    pub async fn follow(&self, reader: &Reader) -> Infallible {
        let mut tail = reader.tail(self.through().position);
        while tail.wait().await {
            let end = reader.head();
            let filters = self.asked(head(&end));
            let next = if filters.is_empty() { Ok(None) } else { matching(tail, filters).await.map(Some) };
            tail = match next {
                Ok(Some((tail, through, matching))) => {
                    self.take(through, matching);
                    tail
                }
                // It goes on after what is not asked for, or cannot be read.
                Ok(None) => reader.tail(end.position),
                Err(error) => {
                    tracing::error!(%error, "events cannot be read; each watch reads for itself");
                    self.miss(head(&end));
                    reader.tail(end.position)
                }
            };
        }
        // The log is closed.
        std::future::pending().await
    }

    fn take(&self, through: At, mut matching: Matching) {
        self.advance(through, |filter, feed| match matching.remove(filter) {
            Some(Some(batch)) => {
                let (first, what) = batch;
                let bytes = what.encoded_len();
                feed.take([Seen { first, at: through, what }]);
                // The one that is at hand here is no watch's.
                feed.weigh(through.position, bytes, Arc::strong_count(feed) - 1);
            }
            Some(None) => {}
            // It came while the others were looked for.
            None => feed.miss(through.position),
        });
    }
}

/// Of what is stored together next.
async fn matching(mut tail: Tail, filters: Vec<Arc<EventFilter>>) -> Result<(Tail, At, Matching), Refusal> {
    off_runtime(move || {
        let events = tail.read()?;
        let last = events.last().ok_or(Refusal::Internal)?;
        let through = At { position: last.position, chain: chain_prefix(&last.chain) };
        let batch = |filter: &Arc<EventFilter>| {
            let events: Vec<_> = events.iter().filter_map(|event| filter.matching(event.clone())).collect();
            events.first().map(|event| event.position).map(|first| (first, EventBatch::encoded(&Events { events })))
        };
        Ok((tail, through, filters.iter().map(|filter| (filter.clone(), batch(filter))).collect()))
    })
    .await?
}

fn head(head: &Head) -> At {
    At { position: head.position, chain: chain_prefix(&head.chain) }
}
