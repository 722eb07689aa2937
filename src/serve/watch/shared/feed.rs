//! Feed of one query: its matches at the newest positions, found once for all watches that ask it. A watch that needs
//! entries which the feed has dropped reads for itself. Knows nothing of the entries' content.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::event::{Cursor, Position};

/// Maximum bytes of encoded entries, for each watch of a feed.
const BYTES_MAX: usize = 32 * 1024;

pub struct Feed<T> {
    window: Mutex<Window<T>>,
    /// Last position that the query sees.
    newest: watch::Sender<Position>,
}

struct Window<T> {
    /// Everything that the query sees after this position is here, up to the position of the feeds.
    floor: Position,
    entries: VecDeque<KeptEntry<T>>,
    bytes: usize,
}

struct KeptEntry<T> {
    entry: Arc<FeedEntry<T>>,
    /// Size of the entry's encoded form. 0 until it is encoded.
    bytes: usize,
}

/// A batch that is sent together.
pub struct FeedEntry<T> {
    /// First position in this batch. A watch already at or past `first` needs only part of it and cannot use the shared
    /// encoding.
    pub first: Position,
    /// Progress of a watch once the batch has been sent.
    pub at: Cursor,
    pub content: T,
}

/// Result of looking for the next batch after a position.
pub enum NextEntry<T> {
    Found(Arc<FeedEntry<T>>),
    /// Nothing follows, up to the position of the feeds.
    Nothing,
    /// The next batch is not, or no longer, here.
    Missed,
}

impl<T> Feed<T> {
    /// Creates a feed of everything after a position.
    pub fn after(floor: Position) -> Self {
        let window = Mutex::new(Window { floor, entries: VecDeque::new(), bytes: 0 });
        Self { window, newest: watch::Sender::new(floor) }
    }

    /// Returns a receiver of each new last position. Each watch has one, so their number is that of the watches.
    pub fn subscribe(&self) -> watch::Receiver<Position> {
        self.newest.subscribe()
    }

    /// Appends the batches that follow.
    pub fn append(&self, entries: impl IntoIterator<Item = FeedEntry<T>>) {
        let mut window = self.window.lock();
        let mut newest = None;
        for entry in entries {
            newest = Some(entry.at.position);
            window.entries.push_back(KeptEntry { entry: Arc::new(entry), bytes: 0 });
        }
        drop(window);
        if let Some(newest) = newest {
            self.newest.send_replace(newest);
        }
    }

    /// Accounts for `bytes` of encoded data at `position`, then evicts the oldest entries above `BYTES_MAX` per watch.
    /// Never evicts the newest.
    pub fn weigh(&self, position: Position, bytes: usize) {
        let watches = self.newest.receiver_count();
        let mut window = self.window.lock();
        if let Ok(index) = window.entries.binary_search_by_key(&position, KeptEntry::position) {
            window.bytes += bytes;
            window.entries[index].bytes += bytes;
        }
        while window.bytes > BYTES_MAX * watches && window.entries.len() > 1 {
            window.drop_oldest();
        }
    }

    /// Drops the entries at `floor` or before.
    pub fn drop_to(&self, floor: Position) {
        self.window.lock().drop_to(floor);
    }

    /// Records that the feed may have missed entries up to a position.
    pub fn mark_missed(&self, through: Position) {
        let mut window = self.window.lock();
        window.drop_to(through);
        window.floor = through;
        drop(window);
        self.newest.send_replace(through);
    }

    pub fn next(&self, after: Position) -> NextEntry<T> {
        let window = self.window.lock();
        if after < window.floor {
            return NextEntry::Missed;
        }
        let next = window.entries.partition_point(|kept| kept.position() <= after);
        match window.entries.get(next) {
            None => NextEntry::Nothing,
            Some(kept) if kept.entry.first <= after => NextEntry::Missed,
            Some(kept) => NextEntry::Found(kept.entry.clone()),
        }
    }
}

impl<T> KeptEntry<T> {
    fn position(&self) -> Position {
        self.entry.at.position
    }
}

impl<T> Window<T> {
    fn drop_to(&mut self, floor: Position) {
        while self.entries.front().is_some_and(|kept| kept.position() <= floor) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(kept) = self.entries.pop_front() {
            self.bytes -= kept.bytes;
            self.floor = kept.position();
        }
    }
}
