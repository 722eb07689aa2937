//! Checks the messages of watchers against the log: the eight properties of a watch, and how it ends.

use std::collections::HashMap;

use super::asks::Asks;
use super::history::{End, Generation, History, Session, Start, What};
use super::reading::Reading;
use super::story::{Truth, required_rows};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// Positions never go back.
    Ordered,
    /// No change comes twice.
    Unique,
    /// Each change is sent as it was, and in the end all changes are sent.
    Reliable,
    /// The changes of one position come together.
    Atomic,
    /// A token resumes right after its message.
    Resumable,
    /// A message without changes means that all changes up to its position were sent.
    Bookmarkable,
    /// A snapshot is the state at its position, and the changes go on from there.
    GapFree,
    /// A token of another log, history or filter, or a damaged one, is refused.
    EpochSafe,
    /// A watch that the daemon ends gets a reason.
    Reasoned,
    /// Each acknowledged event is in the log, at its acknowledged position.
    Durable,
}

#[derive(Debug)]
pub struct Violation {
    pub property: Property,
    /// Numbers of the watcher, of its session, and of the message.
    #[expect(dead_code, reason = "printed")]
    pub at: (usize, usize, usize),
    #[expect(dead_code, reason = "printed")]
    pub what: String,
}

pub fn violations(history: &History) -> Vec<Violation> {
    let mut checker = Checker { history, truths: HashMap::new(), at: (0, 0, 0), found: Vec::new() };
    checker.check_acknowledged();
    for (watcher, sessions) in history.watchers.iter().enumerate() {
        for (number, session) in sessions.iter().enumerate() {
            checker.at = (watcher, number, 0);
            checker.check_session(session);
        }
        checker.check_complete(sessions);
    }
    checker.found
}

struct Checker<'a> {
    history: &'a History,
    truths: HashMap<(usize, Asks), Truth>,
    at: (usize, usize, usize),
    found: Vec<Violation>,
}

impl Checker<'_> {
    fn report(&mut self, property: Property, what: String) {
        self.found.push(Violation { property, at: self.at, what });
    }

    fn check_acknowledged(&mut self) {
        for (number, Generation { log, acknowledged, .. }) in self.history.generations.iter().enumerate() {
            for (position, id) in acknowledged {
                let there = usize::try_from(position - 1).ok().and_then(|at| log.get(at));
                if there.is_none_or(|there| there.id != *id) {
                    self.report(Property::Durable, format!("{id} is not at {position} of generation {number}"));
                }
            }
        }
    }

    fn check_session(&mut self, session: &Session) {
        let wrong = self.must_be_refused(session);
        match (&session.end, wrong) {
            (End::NoStream, _) => return,
            (End::Refused(reason), Some(right)) if reason == right => return,
            // The daemon may be about to stop.
            (End::Refused(reason), _) if reason == "SHUTTING_DOWN" => return,
            (End::Refused(reason), Some(right)) => {
                return self.report(Property::EpochSafe, format!("{reason}, not {right}, for {:?}", session.start));
            }
            (End::Refused(reason), None) => {
                return self.report(Property::Resumable, format!("{reason} for {:?}", session.start));
            }
            // A connection that broke before the first message is no answer.
            (_, Some(right)) if !session.received.is_empty() => {
                self.report(Property::EpochSafe, format!("taken, not {right}, for {:?}", session.start));
            }
            (_, _) => {}
        }
        self.check_end(session);
        let key = (session.generation, session.asks);
        let log = &self.history.generations[session.generation].log;
        let truth = self.truths.remove(&key).unwrap_or_else(|| required_rows(log, &session.asks));
        self.check_received(session, &truth, log.len() as u64);
        self.truths.insert(key, truth);
    }

    /// Returns the reason with which the session must be refused. `None` if it must not be refused.
    fn must_be_refused(&self, session: &Session) -> Option<&'static str> {
        match &session.start {
            Start::Snapshot | Start::Live | Start::After(_) => None,
            Start::Spoilt(_) => Some("INVALID_RESUME_TOKEN"),
            Start::Token(bookmark) if !self.history.same_log(bookmark.generation, session.generation) => {
                Some("LOG_EPOCH_CHANGED")
            }
            Start::Token(bookmark) if bookmark.asks != session.asks => Some("RESUME_TOKEN_FILTER_MISMATCH"),
            Start::Token(bookmark) if bookmark.in_snapshot || self.history.leads(bookmark, session.generation) => None,
            Start::Token(_) => Some("LOG_EPOCH_CHANGED"),
        }
    }

    fn check_end(&mut self, session: &Session) {
        let killed = self.history.killed.contains(&session.run);
        let announced = matches!(session.received.last(), Some(last) if matches!(last.what, What::GoingAway));
        match &session.end {
            End::Silent => self.report(Property::Reasoned, "nothing came, not even a heartbeat".to_owned()),
            End::Broken(how) if !killed => {
                self.report(Property::Reasoned, format!("after {:?}: {how}", session.received.last()));
            }
            End::Ended(reason) if !announced || !["SHUTTING_DOWN", "WATCH_MAX_AGE"].contains(&reason.as_str()) => {
                self.report(Property::Reasoned, format!("{reason}, announced: {announced}"));
            }
            End::NoStream | End::Refused(_) | End::Ended(_) | End::Broken(_) | End::Left => {}
        }
    }

    fn check_received(&mut self, session: &Session, truth: &Truth, last: u64) {
        let Some(first) = session.received.first() else { return };
        let What::Started { snapshot } = first.what else {
            return self.report(Property::Ordered, "it does not begin with Started".to_owned());
        };
        self.check_start(session, first.position, snapshot);
        let mut reading = Reading::from(first.position, snapshot, matches!(session.start, Start::Token(_)));
        for (number, message) in session.received.iter().enumerate().skip(1) {
            self.at.2 = number;
            if message.position > last {
                return self.report(Property::Reliable, format!("the log never came to {}", message.position));
            }
            if message.position < reading.at {
                self.report(Property::Ordered, format!("{} after {}", message.position, reading.at));
            }
            if let Err((property, what)) = reading.take(message.position, &message.what, truth) {
                self.report(property, what);
            }
            if matches!(message.what, What::CaughtUp) && message.position < session.durable {
                let what = format!("caught up at {}, and {} was durable", message.position, session.durable);
                self.report(Property::Bookmarkable, what);
            }
            reading.at = message.position;
        }
    }

    fn check_start(&mut self, session: &Session, position: u64, snapshot: bool) {
        let (place, whole) = match &session.start {
            Start::Snapshot => (None, true),
            Start::Live | Start::Spoilt(_) => (None, false),
            Start::After(position) => (Some(*position), false),
            Start::Token(bookmark) if bookmark.in_snapshot => (None, true),
            Start::Token(bookmark) => (Some(bookmark.position), false),
        };
        if place.is_some_and(|place| place != position) || whole != snapshot {
            let what = format!("at {position}, with a snapshot: {snapshot}, for {:?}", session.start);
            self.report(Property::Resumable, what);
        }
    }

    /// Checks that the watcher has received everything. The driver has waited for this.
    fn check_complete(&mut self, sessions: &[Session]) {
        let generation = self.history.generations.len() - 1;
        let last = self.history.generations[generation].log.len() as u64;
        let current = sessions.last().filter(|session| session.generation == generation);
        let position = current.and_then(|session| session.received.last()).map(|message| message.position);
        if position != Some(last) {
            self.report(Property::Reliable, format!("it is at {position:?}, never at {last}"));
        }
    }
}
