//! What watchers saw, as they saw it, and what the log had. Judges nothing.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::asks::Asks;
use super::story::Sample;

/// What the daemon suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Kill,
    /// Watches are told; what is in flight is taken.
    Stop,
    Pause,
    /// An empty directory takes the place of the data.
    AnotherLog,
    /// An older copy takes the place of the data.
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

/// One entity, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub kind: Kind,
    pub id: String,
    pub version: u64,
    /// Of its state, what a filter sees.
    pub tells: String,
    pub effect: Effect,
}

pub type Rows = BTreeSet<Row>;

/// One log, from the first start over it until another took its place.
#[derive(Debug)]
pub struct Generation {
    /// From position 1, when it ended.
    pub log: Vec<Arc<Sample>>,
    /// The generation it is a copy of, and up to where.
    pub copy_of: Option<(usize, u64)>,
    /// What the door answered.
    pub acknowledged: Vec<(u64, String)>,
}

/// A token, and what it was given for.
#[derive(Debug, Clone)]
pub struct Bookmark {
    pub generation: usize,
    pub asks: Asks,
    pub position: u64,
    /// From before the end of a snapshot.
    pub in_snapshot: bool,
    pub token: String,
}

#[derive(Debug, Clone)]
pub enum Start {
    Snapshot,
    Live,
    After(u64),
    Token(Bookmark),
    /// Of a token that was changed on its way.
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
pub struct Told {
    pub position: u64,
    pub what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// For this reason, instead of a first message.
    Refused(String),
    /// With this reason.
    Ended(String),
    /// Nobody gave a reason: the connection broke, before there was a stream.
    Unheard,
    /// The same, later. So the client puts it.
    Broken(String),
    /// By the watcher.
    Left,
    /// Not even a heartbeat came.
    Silent,
}

/// One stream.
#[derive(Debug)]
pub struct Session {
    pub generation: usize,
    /// The how-manieth start of the daemon it was with.
    pub run: usize,
    pub asks: Asks,
    pub start: Start,
    /// What was acknowledged before it was asked for.
    pub durable: u64,
    pub told: Vec<Told>,
    /// How often it took its time between two messages.
    pub slow: usize,
    pub end: End,
}

/// All of it.
#[derive(Debug)]
pub struct History {
    pub faults: Vec<Fault>,
    pub generations: Vec<Generation>,
    /// The starts of the daemon that ended with a kill.
    pub killed: HashSet<usize>,
    /// Of each watcher, in order.
    pub watchers: Vec<Vec<Session>>,
}
