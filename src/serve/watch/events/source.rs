//! Source of one watch: the events of the log that its filter matches. They come from the log, never from the views.
//! Knows nothing of when they are sent.

use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message as _;

use super::feeds::matching;
use crate::event::{Cursor, Position};
use crate::log::{ReadError, Selection, Tail};
use crate::proto::EventBatch;
use crate::serve::limits::{Caller, Reservation};
use crate::serve::query::EventFilter;
use crate::serve::read::Context;
use crate::serve::refusal::Refusal;
use crate::serve::watch::shared::{Feed, FeedEntry, WatchRange, WatchSource};

/// Maximum memory that the events of one block take. A large event has a block of its own.
const READ_BYTES: usize = 512 * 1024;

pub struct EventSource {
    context: Arc<Context>,
    caller: Caller,
    filter: Arc<EventFilter>,
    /// Position read last, and the tail after it.
    tail: Mutex<Option<(Position, Tail)>>,
}

impl EventSource {
    pub fn of(context: &Arc<Context>, caller: Caller, filter: &Arc<EventFilter>) -> Self {
        Self { context: context.clone(), caller, filter: filter.clone(), tail: Mutex::default() }
    }
}

impl WatchSource for EventSource {
    type Query = EventFilter;
    type Shared = EventBatch;
    type Own = EventBatch;
    type Batch = EventBatch;

    fn end(&self) -> Position {
        self.context.sources.reader.head().position
    }

    /// Resolves when the log grows. A closed log never does: then the serving state ends the watch.
    async fn grown(&self, after: Position) {
        if !self.context.sources.reader.tail(after).wait().await {
            std::future::pending::<()>().await;
        }
    }

    /// Reads events that are stored together: a block, or one large event.
    async fn read(self: Arc<Self>, after: Cursor) -> Result<WatchRange<EventBatch>, Refusal> {
        let Context { sources, scans, .. } = &*self.context;
        let reader = &sources.reader;
        let charge = self.context.reserve_catch_up(self.caller, READ_BYTES).await?;
        let kept = self.tail.lock().take();
        let mut tail = match kept {
            Some((position, tail)) if position == after.position => tail,
            _ => reader.tail(after.position),
        };
        let filter = self.filter.clone();
        let work = move || (read_run(&mut tail, &filter, after, charge), tail);
        let (run, tail) = scans.take_turn(self.caller, work).await?;
        let run = run?;
        *self.tail.lock() = Some((run.through.position, tail));
        Ok(run)
    }

    async fn make_batch(self: Arc<Self>, batch: EventBatch) -> Result<Option<EventBatch>, Refusal> {
        Ok(Some(batch))
    }

    async fn make_shared_batch(
        self: Arc<Self>,
        _: Arc<Feed<EventBatch>>,
        entry: Arc<FeedEntry<EventBatch>>,
    ) -> Result<Option<EventBatch>, Refusal> {
        Ok(Some(entry.content.clone()))
    }

    fn is_behind(&self, _: Position) -> bool {
        false
    }
}

/// Reads the next events of the tail, and keeps as much of the charge as the matching ones need.
fn read_run(
    tail: &mut Tail,
    filter: &EventFilter,
    after: Cursor,
    mut charge: Reservation,
) -> Result<WatchRange<EventBatch>, ReadError> {
    let (events, through) = match tail.select(|header| filter.may_match(header))? {
        Some(Selection { events, through, chain, .. }) => (events, Cursor::new(through, &chain)),
        None => (Vec::new(), after),
    };
    let entries: Vec<_> = matching(filter, events, through, EventBatch::from).into_iter().collect();
    let bytes = entries.iter().map(|entry| entry.content.encoded_len()).sum::<usize>();
    // A smaller amount always fits.
    let charge = charge.resize(bytes.min(READ_BYTES)).is_ok().then_some(charge);
    Ok(WatchRange { entries, through, charge })
}
