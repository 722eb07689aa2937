//! All that is watched for, each query once, and how far it has been looked at. Knows nothing of what is told.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::At;
use super::feed::Feed;

pub(in super::super) struct Feeds<Q, T>(Mutex<Table<Q, T>>);

struct Table<Q, T> {
    /// Every feed has what its query sees up to here.
    through: At,
    /// Each for as long as a watch has it.
    open: HashMap<Arc<Q>, Weak<Feed<T>>>,
}

impl<Q: Eq + Hash, T> Feeds<Q, T> {
    pub(super) fn after(through: At) -> Self {
        Self(Mutex::new(Table { through, open: HashMap::new() }))
    }

    /// The feed of all who ask this.
    pub(super) fn of(&self, query: &Arc<Q>) -> Arc<Feed<T>> {
        let mut table = self.table();
        if let Some(feed) = table.open.get(query).and_then(Weak::upgrade) {
            return feed;
        }
        let feed = Arc::new(Feed::after(table.through.position));
        table.open.insert(query.clone(), Arc::downgrade(&feed));
        feed
    }

    /// Every feed has what its query sees up to here.
    pub(super) fn through(&self) -> At {
        self.table().through
    }

    /// Whether anything is asked for. If not, all up to `end` has been looked at.
    pub(super) fn is_asked(&self, end: At) -> bool {
        let mut table = self.table();
        table.open.retain(|_, feed| feed.strong_count() > 0);
        if table.open.is_empty() {
            table.through = end;
        }
        !table.open.is_empty()
    }

    /// All that is asked for now.
    pub(super) fn queries(&self) -> Vec<Arc<Q>> {
        self.table().open.keys().cloned().collect()
    }

    /// All up to `through` has been looked at, and `each` gives each feed what its query sees of it.
    pub(super) fn advance(&self, through: At, mut each: impl FnMut(&Arc<Q>, &Arc<Feed<T>>)) {
        let mut table = self.table();
        for (query, feed) in &table.open {
            if let Some(feed) = feed.upgrade() {
                each(query, &feed);
            }
        }
        table.through = through;
    }

    /// Nobody can look at what is up to there.
    pub(super) fn miss(&self, through: At) {
        self.advance(through, |_, feed| feed.miss(through.position));
    }

    /// What is held is whole at every moment, so a panic elsewhere leaves nothing to mend.
    fn table(&self) -> MutexGuard<'_, Table<Q, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
