//! The messages that watchers received, and the contents of the logs. It judges nothing.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::asks::Asks;
use super::story::Sample;

/// Fault that the daemon suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Kill,
    /// An orderly stop: watches get a reason, and webhooks in flight are taken.
    Stop,
    Pause,
    /// The data is removed, so that another log begins.
    AnotherLog,
    /// An older copy replaces the data.
    OlderCopy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Connection,
    Export,
    Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    Entered,
    Updated,
    Left,
}

/// The fields of an entity that are compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub kind: Kind,
    pub id: String,
    pub version: u64,
    /// Fields of its state that a filter sees.
    pub state: String,
    pub effect: Effect,
}

pub type Rows = BTreeSet<Row>;

/// One log, from the first start over it until another log replaced it.
#[derive(Debug)]
pub struct Generation {
    /// Events from position 1, when the generation ended.
    pub log: Vec<Arc<Sample>>,
    /// Generation that it is a copy of, and the last position of the copy. `None` if it is no copy.
    pub copy_of: Option<(usize, u64)>,
    /// Acknowledged positions and ids.
    pub acknowledged: Vec<(u64, String)>,
}

/// A resume token, with the request and the position that it was given for.
#[derive(Debug, Clone)]
pub struct Bookmark {
    pub generation: usize,
    pub asks: Asks,
    pub position: u64,
    /// Whether it is from before the end of a snapshot.
    pub in_snapshot: bool,
    pub token: String,
}

#[derive(Debug, Clone)]
pub enum Start {
    Snapshot,
    Live,
    After(u64),
    Token(Bookmark),
    /// A token that was changed.
    Spoilt(String),
}

#[derive(Debug)]
pub enum What {
    Started { snapshot: bool },
    Snapshot(Vec<Row>),
    SnapshotEnd,
    Changes(Rows),
    CaughtUp,
    FellBehind,
    Heartbeat,
    GoingAway,
}

#[derive(Debug)]
pub struct Received {
    pub position: u64,
    pub what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Refused with this reason, instead of a first message.
    Refused(String),
    /// Ended with this reason.
    Ended(String),
    /// No reason was given: the connection broke before there was a stream.
    NoStream,
    /// Like [`Self::NoStream`], but there was a stream. The text is the client's error.
    Broken(String),
    /// Left by the watcher.
    Left,
    /// Nothing came, not even a heartbeat.
    Silent,
}

/// One stream.
#[derive(Debug)]
pub struct Session {
    pub generation: usize,
    /// Number of the daemon's start that it was with.
    pub run: usize,
    pub asks: Asks,
    pub start: Start,
    /// Last position that was acknowledged before the request.
    pub durable: u64,
    pub received: Vec<Received>,
    /// How often the reader paused between two messages.
    pub slow: usize,
    pub end: End,
}

/// Everything that happened in one run of a plan.
#[derive(Debug)]
pub struct History {
    pub faults: Vec<Fault>,
    pub generations: Vec<Generation>,
    /// The starts of the daemon that ended with a kill.
    pub killed: HashSet<usize>,
    /// Sessions of each watcher, in order.
    pub watchers: Vec<Vec<Session>>,
}
