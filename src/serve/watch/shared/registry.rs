//! Registry of the open feeds: one for each query, and the position up to which they have been filled. Knows nothing of
//! their content.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::feed::Feed;
use crate::event::Cursor;

pub struct FeedRegistry<Q, T>(Mutex<FeedTable<Q, T>>);

struct FeedTable<Q, T> {
    /// Every feed has all matches of its query up to here.
    through: Cursor,
    /// Feeds in use. Each is kept as long as a watch holds it.
    open: HashMap<Arc<Q>, Weak<Feed<T>>>,
}

impl<Q: Eq + Hash, T> FeedRegistry<Q, T> {
    pub fn after(through: Cursor) -> Self {
        Self(Mutex::new(FeedTable { through, open: HashMap::new() }))
    }

    /// Returns the feed of a query, shared by all watches that ask it. Opens the feed for the first of them.
    pub fn open(&self, query: &Arc<Q>) -> Arc<Feed<T>> {
        let mut table = self.0.lock();
        if let Some(feed) = table.open.get(query).and_then(Weak::upgrade) {
            return feed;
        }
        let feed = Arc::new(Feed::after(table.through.position));
        table.open.insert(query.clone(), Arc::downgrade(&feed));
        feed
    }

    /// Returns the position up to which every feed has the matches of its query.
    pub fn through(&self) -> Cursor {
        self.0.lock().through
    }

    /// Retires the feeds that no watch uses any more. If none is left, everything up to `end` counts as matched.
    pub fn retire_unused(&self, end: Cursor) {
        let mut table = self.0.lock();
        table.open.retain(|_, feed| feed.strong_count() > 0);
        if table.open.is_empty() {
            table.through = end;
        }
    }

    /// Returns the queries of all feeds in use.
    pub fn queries(&self) -> Vec<Arc<Q>> {
        self.0.lock().open.keys().cloned().collect()
    }

    /// Advances to `through`, once `each` has given each feed the matches of its query up to there.
    pub fn advance(&self, through: Cursor, mut each: impl FnMut(&Arc<Q>, &Arc<Feed<T>>)) {
        let mut table = self.0.lock();
        for (query, feed) in &table.open {
            if let Some(feed) = feed.upgrade() {
                each(query, &feed);
            }
        }
        table.through = through;
    }

    /// Records that no feed can see the positions up to there.
    pub fn mark_missed(&self, through: Cursor) {
        self.advance(through, |_, feed| feed.mark_missed(through.position));
    }
}
