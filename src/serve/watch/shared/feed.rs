//! Feed of one query: its matches at the newest positions, found once for all watches that ask it. A watch that needs
//! entries which the feed has dropped reads for itself. Knows nothing of the entries' content.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
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
    seen: VecDeque<KeptEntry<T>>,
    bytes: usize,
}

struct KeptEntry<T> {
    seen: Arc<FeedEntry<T>>,
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
    pub what: T,
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
        let window = Mutex::new(Window { floor, seen: VecDeque::new(), bytes: 0 });
        Self { window, newest: watch::Sender::new(floor) }
    }

    /// Returns a receiver of each new last position. Each watch has one, so their number is that of the watches.
    pub fn newest(&self) -> watch::Receiver<Position> {
        self.newest.subscribe()
    }

    /// Appends the batches that follow.
    pub fn take(&self, seen: impl IntoIterator<Item = FeedEntry<T>>) {
        let mut window = self.window();
        let mut newest = None;
        for seen in seen {
            newest = Some(seen.at.position);
            window.seen.push_back(KeptEntry { seen: Arc::new(seen), bytes: 0 });
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
        let mut window = self.window();
        if let Ok(at) = window.seen.binary_search_by_key(&position, KeptEntry::position) {
            window.bytes += bytes;
            window.seen[at].bytes += bytes;
        }
        while window.bytes > BYTES_MAX * watches && window.seen.len() > 1 {
            window.drop_oldest();
        }
    }

    /// Drops the entries at `floor` or before.
    pub fn drop_to(&self, floor: Position) {
        self.window().drop_to(floor);
    }

    /// Records that the feed may have missed entries up to a position.
    pub fn miss(&self, through: Position) {
        let mut window = self.window();
        window.drop_to(through);
        window.floor = through;
        drop(window);
        self.newest.send_replace(through);
    }

    pub fn next(&self, after: Position) -> NextEntry<T> {
        let window = self.window();
        if after < window.floor {
            return NextEntry::Missed;
        }
        let next = window.seen.partition_point(|kept| kept.position() <= after);
        match window.seen.get(next) {
            None => NextEntry::Nothing,
            Some(kept) if kept.seen.first <= after => NextEntry::Missed,
            Some(kept) => NextEntry::Found(kept.seen.clone()),
        }
    }

    /// Locks the window. It is consistent at every moment, so a panic elsewhere leaves nothing to repair.
    fn window(&self) -> MutexGuard<'_, Window<T>> {
        self.window.lock()
    }
}

impl<T> KeptEntry<T> {
    fn position(&self) -> Position {
        self.seen.at.position
    }
}

impl<T> Window<T> {
    fn drop_to(&mut self, floor: Position) {
        while self.seen.front().is_some_and(|kept| kept.position() <= floor) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(kept) = self.seen.pop_front() {
            self.bytes -= kept.bytes;
            self.floor = kept.position();
        }
    }
}
