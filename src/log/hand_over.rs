//! The newest committed events, already parsed, for the one fold that follows the log. The fold reads the log only
//! while it is behind. Bounded: events that do not fit are read from the log. Must not know the work of a fold.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::event::{ParsedEvent, Position};

/// Maximum bytes that the bodies of waiting events take in memory.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// Both ends of the hand-over. The writer offers events, one fold takes them.
#[derive(Clone)]
pub struct HandOver(Arc<Mutex<WaitingEvents>>);

/// Adjacent waiting events.
struct WaitingEvents {
    events: VecDeque<ParsedEvent>,
    events_max: usize,
    bytes: usize,
}

/// Waiting events after a position.
pub enum HandedOver {
    /// Adjacent events, at least one.
    Events(Vec<ParsedEvent>),
    /// No event waits, or only later ones: the next one must be read from the log.
    Behind,
}

impl HandOver {
    /// Creates an empty hand-over. At most `events_max` events wait in it.
    pub(super) fn new(events_max: usize) -> Self {
        Self(Arc::new(Mutex::new(WaitingEvents { events: VecDeque::new(), events_max, bytes: 0 })))
    }

    /// Adds the events of a commit, which is durable. If they do not fit, drops the oldest.
    pub(super) fn offer(&self, events: Vec<ParsedEvent>) {
        let surplus = self.0.lock().push(events);
        // Freed after the lock is released: there may be thousands.
        drop(surplus);
    }

    /// Takes the events after one position up to another, and drops those before.
    pub fn take(&self, after: Position, through: Position) -> HandedOver {
        let mut waiting = self.0.lock();
        let known = waiting.events.partition_point(|event| event.position <= after);
        let known = waiting.take_first(known);
        let is_next = waiting.events.front().is_some_and(|event| event.position == after + 1);
        let count = if is_next { waiting.events.partition_point(|event| event.position <= through) } else { 0 };
        let taken = waiting.take_first(count);
        drop(waiting);
        drop(known);
        if taken.is_empty() { HandedOver::Behind } else { HandedOver::Events(taken) }
    }
}

impl WaitingEvents {
    /// Adds events. Returns the oldest ones that do not fit any more.
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
