//! What one query sees of the newest positions: matched once, for all watches that ask it. A watch that needs what a feed has
//! let go of reads for itself. Knows nothing of what is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::At;
use crate::event::Position;

/// Encoded, and kept for each watch of a feed.
const BYTES_MAX: usize = 32 * 1024;

pub(super) struct Feed<T> {
    window: Mutex<Window<T>>,
    /// The last position that the query sees.
    newest: watch::Sender<Position>,
}

struct Window<T> {
    /// All that the query sees after this position is here, as far as the feeds are.
    floor: Position,
    seen: VecDeque<Kept<T>>,
    bytes: usize,
}

struct Kept<T> {
    seen: Arc<Seen<T>>,
    /// Of what is encoded of it.
    bytes: usize,
}

/// What is told together.
pub(super) struct Seen<T> {
    /// The first position of it. Whoever is there already is to have only a part, which nobody has in common.
    pub first: Position,
    /// Where a watch is when it has been told.
    pub at: At,
    pub what: T,
}

/// What follows a position.
pub(super) enum Next<T> {
    Seen(Arc<Seen<T>>),
    /// As far as the feeds are.
    Nothing,
    /// It is not, or no longer, here.
    Missed,
}

impl<T> Feed<T> {
    /// Of what comes after a position.
    pub fn after(floor: Position) -> Self {
        let window = Mutex::new(Window { floor, seen: VecDeque::new(), bytes: 0 });
        Self { window, newest: watch::Sender::new(floor) }
    }

    /// Told of each new last position. Each watch has one.
    pub fn newest(&self) -> watch::Receiver<Position> {
        self.newest.subscribe()
    }

    /// Takes what follows.
    pub fn take(&self, seen: impl IntoIterator<Item = Seen<T>>) {
        let mut window = self.window();
        let mut newest = None;
        for seen in seen {
            newest = Some(seen.at.position);
            window.seen.push_back(Kept { seen: Arc::new(seen), bytes: 0 });
        }
        drop(window);
        if let Some(newest) = newest {
            self.newest.send_replace(newest);
        }
    }

    /// What it is encoded takes so many bytes. The oldest goes if there is more than its watches are due, but never the newest.
    pub fn weigh(&self, position: Position, bytes: usize) {
        let watches = self.newest.receiver_count();
        let mut window = self.window();
        if let Ok(at) = window.seen.binary_search_by_key(&position, Kept::position) {
            window.bytes += bytes;
            window.seen[at].bytes += bytes;
        }
        while window.bytes > BYTES_MAX * watches && window.seen.len() > 1 {
            window.drop_oldest();
        }
    }

    /// Lets go of what is at `floor` or before.
    pub fn drop_to(&self, floor: Position) {
        self.window().drop_to(floor);
    }

    /// What is up to a position it may not have seen.
    pub fn miss(&self, through: Position) {
        let mut window = self.window();
        window.drop_to(through);
        window.floor = through;
        drop(window);
        self.newest.send_replace(through);
    }

    pub fn next(&self, after: Position) -> Next<T> {
        let window = self.window();
        if after < window.floor {
            return Next::Missed;
        }
        let next = window.seen.partition_point(|kept| kept.position() <= after);
        match window.seen.get(next) {
            None => Next::Nothing,
            Some(kept) if kept.seen.first <= after => Next::Missed,
            Some(kept) => Next::Seen(kept.seen.clone()),
        }
    }

    /// It is whole at every moment, so a panic elsewhere leaves nothing to mend.
    fn window(&self) -> MutexGuard<'_, Window<T>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Kept<T> {
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
