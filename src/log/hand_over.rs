//! What was committed last, parsed already, for the one fold that follows the log: it reads the log only while it is behind.
//! Bounded; what does not fit is read from the log. Knows nothing of what a fold does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{ParsedEvent, Position};

/// What the bodies of the events that wait take in memory, at most.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// The two ends. The writer offers, one fold takes.
#[derive(Clone)]
pub struct HandOver(Arc<Mutex<Waiting>>);

/// Adjacent events.
struct Waiting {
    events: VecDeque<ParsedEvent>,
    events_max: usize,
    bytes: usize,
}

/// What is there after a position.
pub enum Taken {
    /// Not empty, and adjacent.
    Events(Vec<ParsedEvent>),
    /// Later events at most: the next one is in the log.
    Behind,
}

impl HandOver {
    /// Empty. At most this number of events waits in it.
    pub(super) fn new(events_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Waiting { events: VecDeque::new(), events_max, bytes: 0 })))
    }

    /// Adds the events of a commit, which is durable. If they do not fit, the oldest go.
    pub(super) fn offer(&self, events: Vec<ParsedEvent>) {
        let surplus = self.waiting().push(events);
        // Freed after the lock: there may be thousands.
        drop(surplus);
    }

    /// Takes the events after a position up to another, and lets go of those before.
    pub fn take(&self, after: Position, through: Position) -> Taken {
        let mut waiting = self.waiting();
        let known = waiting.events.partition_point(|event| event.position <= after);
        let known = waiting.take_first(known);
        let is_next = waiting.events.front().is_some_and(|event| event.position == after + 1);
        let count = if is_next { waiting.events.partition_point(|event| event.position <= through) } else { 0 };
        let taken = waiting.take_first(count);
        drop(waiting);
        drop(known);
        if taken.is_empty() { Taken::Behind } else { Taken::Events(taken) }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Returns what had to go.
    fn push(&mut self, events: Vec<ParsedEvent>) -> Vec<ParsedEvent> {
        self.bytes += events.iter().map(|event| event.body.weight).sum::<usize>();
        self.events.extend(events);
        let mut surplus = Vec::new();
        while self.events.len() > self.events_max || self.bytes > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.body.weight;
            surplus.push(oldest);
        }
        surplus
    }

    fn take_first(&mut self, count: usize) -> Vec<ParsedEvent> {
        let taken: Vec<_> = self.events.drain(..count).collect();
        self.bytes -= taken.iter().map(|event| event.body.weight).sum::<usize>();
        taken
    }
}
