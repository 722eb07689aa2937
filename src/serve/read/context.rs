//! State shared by all services: handles of the modules below, quotas, and the gate that every request passes. Knows
//! nothing of single methods.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::retained_views::RetainedViews;
use crate::backfill::Backfill;
use crate::event::{Clock, Cursor, Position, Timestamp};
use crate::fold::{Rebuild, Views};
use crate::log::{ReadError, Reader};
use crate::metrics::Gauge;
use crate::rejections::Rejections;
use crate::serve::limits::scans::off_runtime;
use crate::serve::limits::{Caller, Quota, Reservation, Scans};
use crate::serve::query::{PageToken, RowPlace};
use crate::serve::refusal::Refusal;
use crate::serve::serving_state::ServingState;
use crate::token::Token;

/// Sources of the answers.
pub struct Sources {
    pub views: watch::Receiver<Arc<Views>>,
    pub reader: Reader,
    pub rebuild: Rebuild,
    pub rejections: Rejections,
    pub backfill: Backfill,
    pub state: watch::Receiver<ServingState>,
}

pub struct Context {
    pub sources: Sources,
    pub snapshots: RetainedViews,
    pub scans: Arc<Scans>,
    /// Bytes of requests, answers and scans.
    pub inflight: Arc<Quota>,
    /// Bytes that watches have read from disk and not sent yet. Separate from `inflight`: watches wait for this quota,
    /// and answers must not wait for watches.
    pub catch_up: Arc<Quota>,
    pub watches: Arc<Quota>,
    pub watches_gauge: Gauge,
    pub watch_max_age: Duration,
    pub started_at: Timestamp,
    pub clock: Clock,
}

/// One open watch. Counted until it is dropped.
pub struct WatchSlot {
    _permit: Reservation,
    gauge: Gauge,
    /// Number of open watches when this one began, itself included.
    pub ordinal: usize,
    pub expires: Instant,
}

impl Drop for WatchSlot {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Context {
    /// Returns the published views, readable or not.
    pub fn published(&self) -> Arc<Views> {
        self.sources.views.borrow().clone()
    }

    /// Returns the published views for a request.
    pub fn views(&self) -> Result<Arc<Views>, Refusal> {
        self.gate()?;
        self.readable()
    }

    /// Returns the published views, whatever the serving state. Refuses if they are not readable: the serving state
    /// follows a moment later.
    pub fn readable(&self) -> Result<Arc<Views>, Refusal> {
        let views = self.published();
        if views.is_readable() { Ok(views) } else { Err(self.catching_up(self.sources.reader.head().position)) }
    }

    fn catching_up(&self, of: Position) -> Refusal {
        Refusal::CatchingUp { at: self.published().position(), of }
    }

    /// Refuses while there is no state to answer from.
    pub fn gate(&self) -> Result<(), Refusal> {
        match &*self.sources.state.borrow() {
            ServingState::Serving | ServingState::ReadOnly { .. } => Ok(()),
            ServingState::CatchingUp { of } => Err(self.catching_up(*of)),
            ServingState::Stalled { position, reason } => {
                Err(Refusal::ViewsStalled { position: *position, reason: reason.clone() })
            }
            ServingState::Damaged { reason } => Err(Refusal::DataDamaged(reason.clone())),
            ServingState::ShuttingDown => Err(Refusal::ShuttingDown),
        }
    }

    /// Refuses only at a shutdown: the log can be read while there is no state, and around its damage.
    pub fn gate_of_the_log(&self) -> Result<(), Refusal> {
        if *self.sources.state.borrow() == ServingState::ShuttingDown { Err(Refusal::ShuttingDown) } else { Ok(()) }
    }

    /// Reserves room for bytes that a watch reads from disk. Waits for the watch's turn, but no shutdown waits for
    /// that.
    pub async fn reserve_catch_up(&self, caller: Caller, bytes: usize) -> Result<Reservation, Refusal> {
        tokio::select! {
            biased;
            room = self.catch_up.wait_for(caller, bytes) => Ok(room),
            () = self.wait_for_shutdown() => Err(Refusal::ShuttingDown),
        }
    }

    /// Resolves once the daemon is to stop.
    pub async fn wait_for_shutdown(&self) {
        // A closed channel is just as final.
        drop(self.sources.state.clone().wait_for(|state| *state == ServingState::ShuttingDown).await);
    }

    /// Returns the token of the page after the one that ended at `last`, and keeps the views for that page. Empty if
    /// there is no next page.
    pub fn prepare_next_page(&self, filter_hash: u64, views: &Arc<Views>, last: Option<RowPlace>) -> String {
        let Some(RowPlace { rank, id }) = last else { return String::new() };
        self.snapshots.keep(views);
        PageToken { filter_hash, position: views.position(), rank, last: id.text().as_ref().to_owned() }.encode()
    }

    /// Returns the latest position that any answer can have reported.
    pub fn last_position(&self) -> Position {
        self.sources.reader.head().position.max(self.published().position())
    }

    /// Returns the position of everything that is durable now, and a token for it.
    pub fn head(&self) -> (Position, String) {
        let head = self.sources.reader.head();
        (head.position, Token::read(self.sources.reader.identity(), head.cursor()).encode())
    }

    /// Returns a token for everything up to the position of these views.
    pub fn read_token(&self, views: &Views) -> String {
        Token::read(self.sources.reader.identity(), views.cursor()).encode()
    }

    /// Returns a token for everything up to a position that these views have reached.
    pub async fn token_at(&self, views: &Views, position: Position) -> Result<String, Refusal> {
        let identity = self.sources.reader.identity();
        if let Some(cursor) = views.cursor_at(position) {
            return Ok(Token::read(identity, cursor).encode());
        }
        let event = self.read(move |reader| reader.get(position)).await?;
        let chain = event.map_or_else(|| self.sources.reader.genesis(), |event| event.chain);
        Ok(Token::read(identity, Cursor::new(position, &chain)).encode())
    }

    /// Reads from the log, which blocks, on a thread that may block.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let reader = self.sources.reader.clone();
        off_runtime(move || read(&reader)).await?.map_err(Self::report_unreadable)
    }

    /// Logs why the log cannot be read, and returns the refusal.
    pub fn report_unreadable(error: ReadError) -> Refusal {
        tracing::error!(%error, "an event cannot be read");
        error.into()
    }

    pub fn take_watch_slot(&self, caller: Caller) -> Result<WatchSlot, Refusal> {
        let permit = self.watches.reserve(caller, 1).map_err(|_| Refusal::TooManyWatches)?;
        self.watches_gauge.inc();
        let gauge = self.watches_gauge.clone();
        let ordinal = self.watches_open();
        let expires = Instant::now() + age(self.watch_max_age, ordinal);
        Ok(WatchSlot { _permit: permit, gauge, ordinal, expires })
    }

    pub fn watches_open(&self) -> usize {
        self.watches.used()
    }
}

/// Returns between nine tenths and all of `max`, so that watches that began together do not end together.
fn age(max: Duration, ordinal: usize) -> Duration {
    let turn = u32::try_from(ordinal * 37 % 100).unwrap_or_default();
    max / 1000 * (1000 - turn)
}
