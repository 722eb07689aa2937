//! Owns one event as the state sees it: its report, its position and time, and how it came. Knows no state.

use super::entity::EventRef;
use crate::event::{Report, Timestamp};

#[derive(Clone, Copy)]
pub struct Occurrence<'a> {
    pub report: &'a Report,
    pub event_ref: EventRef,
    /// The event did not come by a webhook, so perhaps it came long after it was reported.
    pub is_second_hand: bool,
}

impl Occurrence<'_> {
    /// Returns the time by which the event had happened.
    pub fn happened_by(&self) -> Timestamp {
        self.report.date.map_or(self.event_ref.recorded_at, |date| date.min(self.event_ref.recorded_at))
    }

    /// Returns the time at which a webhook reported the event, or would have reported it.
    pub fn reported_at(&self) -> Timestamp {
        if self.is_second_hand { self.happened_by() } else { self.event_ref.recorded_at }
    }
}
