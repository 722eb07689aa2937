//! Holds what watchers saw against what the log had: the eight properties of a watch, and how it ends.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Included};

use super::asks::Asks;
use super::history::{Bookmark, Effect, End, Generation, History, Row, Rows, Session, Start, What};
use super::story::must_tell;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// Positions never go back.
    Ordered,
    /// No change comes twice.
    Unique,
    /// Each change comes, as it was, and in the end all of them.
    Reliable,
    /// The changes of one position come together.
    Atomic,
    /// A token leads on from exactly its message.
    Resumable,
    /// What is not a change means that all before it was sent.
    Bookmarkable,
    /// A snapshot is the state at its position, and the changes go on from there.
    GapFree,
    /// A token of another log, history or filter, or a damaged one, leads nowhere.
    EpochSafe,
    /// Whoever is sent away is told why.
    Reasoned,
    /// What was acknowledged is in the log, where it was said to be.
    Durable,
}

#[derive(Debug)]
pub struct Violation {
    pub property: Property,
    /// Of which watcher, in which of its sessions, at which message.
    #[expect(dead_code, reason = "printed")]
    pub at: (usize, usize, usize),
    #[expect(dead_code, reason = "printed")]
    pub what: String,
}

/// What must be told, by position.
type Truth = BTreeMap<u64, Rows>;

pub fn violations(history: &History) -> Vec<Violation> {
    let mut checker = Checker { history, truths: HashMap::new(), at: (0, 0, 0), found: Vec::new() };
    checker.acknowledged();
    for (watcher, sessions) in history.watchers.iter().enumerate() {
        for (number, session) in sessions.iter().enumerate() {
            checker.at = (watcher, number, 0);
            checker.session(session);
        }
        checker.complete(sessions);
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
    fn found(&mut self, property: Property, what: String) {
        self.found.push(Violation { property, at: self.at, what });
    }

    fn acknowledged(&mut self) {
        for (number, Generation { log, acknowledged, .. }) in self.history.generations.iter().enumerate() {
            for (position, id) in acknowledged {
                let there = usize::try_from(position - 1).ok().and_then(|at| log.get(at));
                if there.is_none_or(|there| there.id != *id) {
                    self.found(Property::Durable, format!("{id} is not at {position} of generation {number}"));
                }
            }
        }
    }

    fn session(&mut self, session: &Session) {
        let wrong = self.must_be_refused(session);
        match (&session.end, wrong) {
            (End::Unheard, _) => return,
            (End::Refused(reason), Some(right)) if reason == right => return,
            // It may be about to stop.
            (End::Refused(reason), _) if reason == "SHUTTING_DOWN" => return,
            (End::Refused(reason), Some(right)) => {
                return self.found(Property::EpochSafe, format!("{reason}, not {right}, for {:?}", session.start));
            }
            (End::Refused(reason), None) => {
                return self.found(Property::Resumable, format!("{reason} for {:?}", session.start));
            }
            // A connection that broke before the first message was an answer to nothing.
            (_, Some(right)) if !session.told.is_empty() => {
                self.found(Property::EpochSafe, format!("taken, not {right}, for {:?}", session.start));
            }
            (_, _) => {}
        }
        self.end(session);
        let key = (session.generation, session.asks);
        let log = &self.history.generations[session.generation].log;
        let truth = self.truths.remove(&key).unwrap_or_else(|| must_tell(log, &session.asks));
        self.told(session, &truth, log.len() as u64);
        self.truths.insert(key, truth);
    }

    /// The reason to refuse it.
    fn must_be_refused(&self, session: &Session) -> Option<&'static str> {
        match &session.start {
            Start::Snapshot | Start::Live | Start::After(_) => None,
            Start::Spoilt(_) => Some("INVALID_RESUME_TOKEN"),
            Start::Token(bookmark) if !self.same_log(bookmark.generation, session.generation) => {
                Some("LOG_EPOCH_CHANGED")
            }
            Start::Token(bookmark) if bookmark.asks != session.asks => Some("RESUME_TOKEN_FILTER_MISMATCH"),
            Start::Token(bookmark) if bookmark.in_snapshot || self.shared(bookmark, session.generation) => None,
            Start::Token(_) => Some("LOG_EPOCH_CHANGED"),
        }
    }

    fn ancestry(&self, generation: usize) -> Vec<(usize, u64)> {
        let mut all = vec![(generation, u64::MAX)];
        while let Some((parent, until)) = all.last().and_then(|(last, _)| self.history.generations[*last].copy_of) {
            let until = until.min(all.last().map_or(u64::MAX, |(_, until)| *until));
            all.push((parent, until));
        }
        all
    }

    fn same_log(&self, one: usize, other: usize) -> bool {
        self.ancestry(one).last().map(|(root, _)| *root) == self.ancestry(other).last().map(|(root, _)| *root)
    }

    /// Whether both generations have the same history up to there.
    fn shared(&self, bookmark: &Bookmark, generation: usize) -> bool {
        let (theirs, ours) = (self.ancestry(bookmark.generation), self.ancestry(generation));
        let common = |(root, until): &(usize, u64)| {
            let other = ours.iter().find(|(other, _)| other == root);
            other.map(|(_, other)| *until.min(other))
        };
        theirs.iter().find_map(common).is_some_and(|until| bookmark.position <= until)
    }

    fn end(&mut self, session: &Session) {
        let killed = self.history.killed.contains(&session.run);
        let announced = matches!(session.told.last(), Some(told) if matches!(told.what, What::GoingAway));
        match &session.end {
            End::Silent => self.found(Property::Reasoned, "nothing came, not even a heartbeat".to_owned()),
            End::Broken(how) if !killed => {
                self.found(Property::Reasoned, format!("after {:?}: {how}", session.told.last()));
            }
            End::Ended(reason) if !announced || !["SHUTTING_DOWN", "WATCH_MAX_AGE"].contains(&reason.as_str()) => {
                self.found(Property::Reasoned, format!("{reason}, announced: {announced}"));
            }
            End::Unheard | End::Refused(_) | End::Ended(_) | End::Broken(_) | End::Left => {}
        }
    }

    fn told(&mut self, session: &Session, truth: &Truth, last: u64) {
        let Some(first) = session.told.first() else { return };
        let What::Started { snapshot } = first.what else {
            return self.found(Property::Ordered, "it does not begin with Started".to_owned());
        };
        self.started(session, first.position, snapshot);
        let seam = if snapshot {
            Property::GapFree
        } else if matches!(session.start, Start::Token(_)) {
            Property::Resumable
        } else {
            Property::Reliable
        };
        let mut reading =
            Reading { at: first.position, changed: None, snapshot: snapshot.then(Rows::new), seam: Some(seam) };
        for (number, told) in session.told.iter().enumerate().skip(1) {
            self.at.2 = number;
            if told.position > last {
                return self.found(Property::Reliable, format!("the log never came to {}", told.position));
            }
            if told.position < reading.at {
                self.found(Property::Ordered, format!("{} after {}", told.position, reading.at));
            }
            if let Err((property, what)) = reading.take(told.position, &told.what, truth) {
                self.found(property, what);
            }
            if matches!(told.what, What::CaughtUp) && told.position < session.durable {
                let what = format!("caught up at {}, and {} was durable", told.position, session.durable);
                self.found(Property::Bookmarkable, what);
            }
            reading.at = told.position;
        }
    }

    fn started(&mut self, session: &Session, position: u64, snapshot: bool) {
        let (place, whole) = match &session.start {
            Start::Snapshot => (None, true),
            Start::Live | Start::Spoilt(_) => (None, false),
            Start::After(position) => (Some(*position), false),
            Start::Token(bookmark) if bookmark.in_snapshot => (None, true),
            Start::Token(bookmark) => (Some(bookmark.position), false),
        };
        if place.is_some_and(|place| place != position) || whole != snapshot {
            let what = format!("at {position}, with a snapshot: {snapshot}, for {:?}", session.start);
            self.found(Property::Resumable, what);
        }
    }

    /// The driver waited until each had been told all; that it was is for this to see.
    fn complete(&mut self, sessions: &[Session]) {
        let generation = self.history.generations.len() - 1;
        let last = self.history.generations[generation].log.len() as u64;
        let told = sessions.last().filter(|it| it.generation == generation).and_then(|it| it.told.last());
        if told.is_none_or(|told| told.position != last) {
            self.found(Property::Reliable, format!("it is at {:?}, never at {last}", told.map(|told| told.position)));
        }
    }
}

/// Where a session is.
struct Reading {
    at: u64,
    /// The last change.
    changed: Option<(u64, Rows)>,
    /// Gathered so far.
    snapshot: Option<Rows>,
    /// What is broken if something is left out now, right after the start.
    seam: Option<Property>,
}

impl Reading {
    fn take(&mut self, position: u64, what: &What, truth: &Truth) -> Result<(), (Property, String)> {
        let until = match what {
            What::Started { .. } => return Err((Property::Ordered, "it starts twice".to_owned())),
            What::Snapshot(rows) => return self.take_rows(rows),
            What::SnapshotEnd => return self.end_of_snapshot(position, truth),
            What::Changes(_) => Excluded(position),
            What::CaughtUp | What::FellBehind | What::Heartbeat | What::GoingAway => Included(position),
        };
        if self.snapshot.is_some() {
            // From inside a snapshot only an end may come.
            let going = matches!(what, What::GoingAway);
            return if going { Ok(()) } else { Err((Property::GapFree, format!("{what:?} inside a snapshot"))) };
        }
        let left_out = if position > self.at { truth.range((Excluded(self.at), until)).next() } else { None };
        if let Some((left_out, _)) = left_out {
            let usual = if matches!(what, What::Changes(_)) { Property::Reliable } else { Property::Bookmarkable };
            return Err((self.seam.unwrap_or(usual), format!("{left_out} is left out at {position}, {what:?}")));
        }
        let seam = self.seam.take().filter(|_| position == self.at);
        if let What::Changes(rows) = what {
            return self.change(position, rows, truth);
        }
        self.seam = seam;
        Ok(())
    }

    fn change(&mut self, position: u64, rows: &Rows, truth: &Truth) -> Result<(), (Property, String)> {
        let before = self.changed.replace((position, rows.clone()));
        if let Some((_, before)) = before.filter(|(before, _)| *before == position) {
            let property = if before == *rows { Property::Unique } else { Property::Atomic };
            return Err((property, format!("{position} comes again")));
        }
        if position == self.at {
            return Err((Property::Unique, format!("{position} was sent before")));
        }
        match truth.get(&position) {
            Some(expected) if expected == rows => Ok(()),
            Some(expected) if rows.is_subset(expected) => {
                Err((Property::Atomic, format!("of {expected:?} at {position} only {rows:?}")))
            }
            expected => Err((Property::Reliable, format!("{rows:?} at {position}, not {expected:?}"))),
        }
    }

    fn take_rows(&mut self, rows: &[Row]) -> Result<(), (Property, String)> {
        let unasked = (Property::GapFree, "rows outside a snapshot".to_owned());
        let snapshot = self.snapshot.as_mut().ok_or(unasked)?;
        for row in rows {
            if !snapshot.insert(row.clone()) {
                return Err((Property::GapFree, format!("{row:?} twice in a snapshot")));
            }
        }
        Ok(())
    }

    fn end_of_snapshot(&mut self, position: u64, truth: &Truth) -> Result<(), (Property, String)> {
        let told = self.snapshot.take();
        let expected = state(truth, position);
        if told.as_ref() == Some(&expected) {
            return Ok(());
        }
        let what = format!("at {position} a snapshot of {told:?}, not {expected:?}");
        Err((Property::GapFree, what))
    }
}

/// All that matches at a position.
fn state(truth: &Truth, position: u64) -> Rows {
    let mut there = BTreeMap::new();
    for row in truth.range(..=position).flat_map(|(_, rows)| rows) {
        match row.effect {
            Effect::Entered | Effect::Updated => there.insert((row.kind, &row.id), row.version),
            Effect::Left => there.remove(&(row.kind, &row.id)),
        };
    }
    let row = |((kind, id), version): ((_, &String), _)| Row { kind, id: id.clone(), version, effect: Effect::Entered };
    there.into_iter().map(row).collect()
}
