//! All open feeds, one for each query, and the position up to which they have been filled. Knows nothing of their
//! content.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use super::feed::Feed;
use crate::event::Cursor;

pub struct Feeds<Q, T>(Mutex<FeedTable<Q, T>>);

struct FeedTable<Q, T> {
    /// Every feed has all matches of its query up to here.
    through: Cursor,
    /// Feeds in use. Each is kept as long as a watch holds it.
    open: HashMap<Arc<Q>, Weak<Feed<T>>>,
}

impl<Q: Eq + Hash, T> Feeds<Q, T> {
    pub fn after(through: Cursor) -> Self {
        Self(Mutex::new(FeedTable { through, open: HashMap::new() }))
    }

    /// Returns the feed of a query, shared by all watches that ask it.
    pub fn of(&self, query: &Arc<Q>) -> Arc<Feed<T>> {
        let mut table = self.table();
        if let Some(feed) = table.open.get(query).and_then(Weak::upgrade) {
            return feed;
        }
        let feed = Arc::new(Feed::after(table.through.position));
        table.open.insert(query.clone(), Arc::downgrade(&feed));
        feed
    }

    /// Returns the position up to which every feed has the matches of its query.
    pub fn through(&self) -> Cursor {
        self.table().through
    }

    /// Whether any feed is in use. If none is, everything up to `end` counts as matched.
    pub fn is_asked(&self, end: Cursor) -> bool {
        let mut table = self.table();
        table.open.retain(|_, feed| feed.strong_count() > 0);
        if table.open.is_empty() {
            table.through = end;
        }
        !table.open.is_empty()
    }

    /// Returns the queries of all feeds in use.
    pub fn queries(&self) -> Vec<Arc<Q>> {
        self.table().open.keys().cloned().collect()
    }

    /// Advances to `through`, once `each` has given each feed the matches of its query up to there.
    pub fn advance(&self, through: Cursor, mut each: impl FnMut(&Arc<Q>, &Arc<Feed<T>>)) {
        let mut table = self.table();
        for (query, feed) in &table.open {
            if let Some(feed) = feed.upgrade() {
                each(query, &feed);
            }
        }
        table.through = through;
    }

    /// Records that no feed can see the positions up to there.
    pub fn miss(&self, through: Cursor) {
        self.advance(through, |_, feed| feed.miss(through.position));
    }

    /// Locks the table. It is consistent at every moment, so a panic elsewhere leaves nothing to repair.
    fn table(&self) -> MutexGuard<'_, FeedTable<Q, T>> {
        self.0.lock()
    }
}
