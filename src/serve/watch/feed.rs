//! What one query sees of the newest changes: matched once and encoded once, for all watches that ask it. A watch that
//! needs what a feed has let go of reads for itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use tokio::sync::{OnceCell, watch};

use super::super::context::Context;
use super::super::status::Refusal;
use super::At;
use super::query::Query;
use super::render::render;
use crate::event::Position;
use crate::fold::PositionChanges;
use crate::proto::ChangeBatch;

/// Encoded, and kept for each watch of a feed.
const BYTES_MAX: usize = 32 * 1024;

pub(super) struct Feed {
    query: Arc<Query>,
    window: Mutex<Window>,
    /// The last position that the query sees.
    newest: watch::Sender<Position>,
}

struct Window {
    /// All that the query sees after this position is here, as far as the feeds are.
    floor: Position,
    /// With the bytes of what is encoded of it.
    seen: VecDeque<(Arc<Seen>, usize)>,
    bytes: usize,
}

/// One position's changes, shown by the first who asks.
pub(super) struct Seen {
    changes: Arc<PositionChanges>,
    shown: OnceCell<Option<ChangeBatch>>,
}

/// What follows a position.
pub(super) enum Next {
    Seen(Arc<Seen>),
    /// As far as the feeds are.
    Nothing,
    /// It is no longer here.
    Missed,
}

impl Seen {
    pub fn at(&self) -> At {
        At { position: self.changes.position, chain: self.changes.chain }
    }
}

impl Feed {
    /// Of what comes after a position.
    pub fn after(query: Arc<Query>, floor: Position) -> Self {
        let window = Mutex::new(Window { floor, seen: VecDeque::new(), bytes: 0 });
        Self { query, window, newest: watch::Sender::new(floor) }
    }

    /// Told of each new last position.
    pub fn newest(&self) -> watch::Receiver<Position> {
        self.newest.subscribe()
    }

    /// Takes what follows, and lets go of what is at `floor` or before.
    pub fn take(&self, changes: &[Arc<PositionChanges>], floor: Position) {
        let seen = changes.iter().filter(|changes| self.query.sees(changes));
        let mut window = self.window();
        let before = window.seen.len();
        window.seen.extend(seen.map(|changes| {
            let seen = Seen { changes: changes.clone(), shown: OnceCell::new() };
            (Arc::new(seen), 0)
        }));
        let newest = window.seen.back().filter(|_| window.seen.len() > before).map(|(seen, _)| seen.at().position);
        window.drop_to(floor);
        drop(window);
        if let Some(newest) = newest {
            self.newest.send_replace(newest);
        }
    }

    /// What is up to a position it may not have seen.
    pub fn miss(&self, through: Position) {
        let mut window = self.window();
        window.drop_to(through);
        window.floor = through;
        drop(window);
        self.newest.send_replace(through);
    }

    pub fn next(&self, after: Position) -> Next {
        let window = self.window();
        if after < window.floor {
            return Next::Missed;
        }
        let next = window.seen.partition_point(|(seen, _)| seen.at().position <= after);
        window.seen.get(next).map_or(Next::Nothing, |(seen, _)| Next::Seen(seen.clone()))
    }

    /// How it is shown; None: not at all. `watches`: of this feed.
    pub async fn show(&self, context: &Context, seen: &Seen, watches: usize) -> Result<Option<ChangeBatch>, Refusal> {
        let mut first = false;
        let render = async || -> Result<_, Refusal> {
            first = true;
            Ok(render(context, &self.query, &seen.changes).await?.map(ChangeBatch::encoded))
        };
        let shown = seen.shown.get_or_try_init(render).await?;
        if let (true, Some(shown)) = (first, shown) {
            self.window().weigh(seen.at().position, shown.encoded_len(), BYTES_MAX * watches);
        }
        Ok(shown.clone())
    }

    /// It is whole at every moment, so a panic elsewhere leaves nothing to mend.
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn drop_to(&mut self, floor: Position) {
        while self.seen.front().is_some_and(|(seen, _)| seen.at().position <= floor) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((seen, bytes)) = self.seen.pop_front() {
            self.bytes -= bytes;
            self.floor = seen.at().position;
        }
    }

    /// The newest stays, whatever its size.
    fn weigh(&mut self, position: Position, bytes: usize, bytes_max: usize) {
        if let Ok(at) = self.seen.binary_search_by(|(seen, _)| seen.at().position.cmp(&position))
            && let Some((_, weight)) = self.seen.get_mut(at)
        {
            *weight = bytes;
            self.bytes += bytes;
        }
        while self.bytes > bytes_max && self.seen.len() > 1 {
            self.drop_oldest();
        }
    }
}
