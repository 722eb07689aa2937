//! A watcher that behaves badly: it reads slowly, leaves at any message, resumes with any token that it ever had, and
//! changes its filter.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use super::asks::{Asks, ENTITIES};
use super::history::{Bookmark, End, Received, Session, Start, What};
use super::streams::{self, Messages};

/// Longest time without a message. Heartbeats come each second, but the daemon may be paused for a while.
const SILENCE: Duration = Duration::from_secs(60);
const BOOKMARKS: usize = 3000;

/// The running daemon, with its generation and its last acknowledged position.
#[derive(Debug, Clone)]
pub struct Place {
    pub generation: usize,
    pub run: usize,
    /// Channels for watches of connections, which may lead through a proxy.
    pub connection_channels: Arc<[Channel]>,
    /// Channels for watches of events.
    pub event_channels: Arc<[Channel]>,
    /// Last position acknowledged in this generation.
    pub durable: Arc<AtomicU64>,
}

impl Place {
    /// Returns the channel for a watcher's request.
    fn channel(&self, watcher: usize, asks: &Asks) -> Channel {
        let channels = if asks.events { &self.event_channels } else { &self.connection_channels };
        channels[watcher % channels.len()].clone()
    }
}

pub struct Watcher {
    number: usize,
    asks: Asks,
    random: StdRng,
    places: watch::Receiver<Place>,
    /// Last position of the log. `None` while more events may come.
    last: watch::Receiver<Option<u64>>,
    /// The newest tokens, whatever they were given for.
    bookmarks: VecDeque<Bookmark>,
    sessions: Vec<Session>,
    /// Whether the current session is inside a snapshot; `caught_up`: whether it has caught up.
    in_snapshot: bool,
    caught_up: bool,
}

impl Watcher {
    pub fn new(
        number: usize,
        asks: Asks,
        random: StdRng,
        places: watch::Receiver<Place>,
        last: watch::Receiver<Option<u64>>,
    ) -> Self {
        let bookmarks = VecDeque::new();
        let sessions = Vec::new();
        Self { number, asks, random, places, last, bookmarks, sessions, in_snapshot: false, caught_up: false }
    }

    /// Watches until everything has been received. Returns the sessions.
    pub async fn run(mut self) -> Vec<Session> {
        loop {
            let place = self.places.borrow().clone();
            let start = self.start(place.generation);
            let durable = place.durable.load(Ordering::Acquire);
            let (generation, run, asks) = (place.generation, place.run, self.asks);
            let mut session =
                Session { generation, run, asks, start, durable, received: Vec::new(), slow: 0, end: End::Left };
            let channel = place.channel(self.number, &self.asks);
            session.end = match streams::open(channel, &self.asks, &session.start).await {
                Ok(messages) => self.follow(messages, &mut session).await,
                Err(status) => reason(&status).map_or(End::NoStream, End::Refused),
            };
            let complete = self.is_complete(&session);
            let broken = session.end == End::NoStream;
            self.sessions.push(session);
            if complete {
                return self.sessions;
            }
            if broken {
                // Most likely the place changes soon. Otherwise the connection may only have been slow to break.
                drop(tokio::time::timeout(Duration::from_millis(200), self.places.changed()).await);
            }
        }
    }

    async fn follow(&mut self, mut messages: Messages, session: &mut Session) -> End {
        let mut last = self.last.clone();
        loop {
            if self.is_complete(session) {
                return End::Left;
            }
            let message = tokio::select! {
                message = tokio::time::timeout(SILENCE, messages.next()) => message,
                Ok(()) = last.changed() => continue,
            };
            let (received, token) = match message {
                Err(_) => return End::Silent,
                Ok(None) => return End::Broken("no status".to_owned()),
                Ok(Some(Err(status))) => {
                    return reason(&status).map_or_else(|| End::Broken(format!("{status:?}")), End::Ended);
                }
                Ok(Some(Ok(message))) => message,
            };
            self.take(session, received, token);
            if last.borrow().is_some() {
                continue;
            }
            // A snapshot is soon over, so the chances are higher inside one.
            match self.random.random_range(0..if self.in_snapshot { 5 } else { 600 }) {
                0 => return End::Left,
                1 => {
                    session.slow += 1;
                    tokio::time::sleep(Duration::from_millis(self.random.random_range(10..700))).await;
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, session: &mut Session, received: Vec<Received>, token: String) {
        for message in &received {
            match message.what {
                What::Started { snapshot } => (self.in_snapshot, self.caught_up) = (snapshot, false),
                What::SnapshotEnd => self.in_snapshot = false,
                What::CaughtUp => self.caught_up = true,
                _ => {}
            }
        }
        let (generation, asks, in_snapshot) = (session.generation, session.asks, self.in_snapshot);
        let position = received.last().map_or(0, |message| message.position);
        self.bookmarks.push_back(Bookmark { generation, asks, position, in_snapshot, token });
        session.received.extend(received);
        if self.bookmarks.len() > BOOKMARKS {
            self.bookmarks.pop_front();
        }
    }

    /// Whether everything has been received, and nothing more will come.
    fn is_complete(&self, session: &Session) -> bool {
        let last = *self.last.borrow();
        let newest = session.received.last();
        let at_the_end = last.is_some_and(|last| newest.is_some_and(|newest| newest.position >= last));
        at_the_end && self.caught_up && session.generation == self.places.borrow().generation
    }

    fn start(&mut self, generation: usize) -> Start {
        let Some(newest) = self.bookmarks.back().cloned() else { return self.fresh_start() };
        let refused = self.sessions.last().and_then(|last| match &last.end {
            End::Refused(reason) => Some(reason),
            _ => None,
        });
        if refused.is_some_and(|reason| reason != "SHUTTING_DOWN") {
            // The reason of this refusal does not pass.
            return self.fresh_start();
        }
        if self.last.borrow().is_some() {
            return Start::Token(newest);
        }
        match self.random.random_range(0..20) {
            0 => self.fresh_start(),
            1 => {
                let own = |bookmark: &&Bookmark| bookmark.generation == generation && !bookmark.in_snapshot;
                let own: Vec<_> = self.bookmarks.iter().filter(own).map(|bookmark| bookmark.position).collect();
                Start::After(own.choose(&mut self.random).copied().unwrap_or(0))
            }
            2 => Start::Spoilt(self.spoil(&newest.token)),
            3 if !self.asks.events => {
                self.asks = *ENTITIES.choose(&mut self.random).unwrap();
                Start::Token(newest)
            }
            4..=7 => Start::Token(self.bookmarks[self.random.random_range(0..self.bookmarks.len())].clone()),
            _ => Start::Token(newest),
        }
    }

    /// Returns a start that needs no earlier session.
    fn fresh_start(&mut self) -> Start {
        match (self.asks.events, self.random.random_range(0..3)) {
            (true, 0) => Start::After(0),
            (true, _) | (false, 0) => Start::Live,
            (false, _) => Start::Snapshot,
        }
    }

    /// Replaces one character of a token.
    fn spoil(&mut self, token: &str) -> String {
        let at = self.random.random_range(0..token.len());
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &token[..at], &token[at + 1..])
    }
}

/// Returns the reason that cleat gave. `None` if the status comes from a layer in between.
fn reason(status: &Status) -> Option<String> {
    status.get_error_details().error_info().map(|info| info.reason.clone())
}
