//! One event as the state hears of it: what it reports, where it stands, and how it came.

use super::entity::Mark;
use crate::event::{Report, Timestamp};

#[derive(Clone, Copy)]
pub(super) struct Occurrence<'a> {
    pub report: &'a Report,
    pub mark: Mark,
    /// It came otherwise than by a webhook, and so perhaps long after it was reported.
    pub is_second_hand: bool,
}

impl Occurrence<'_> {
    /// The time by which it had happened.
    pub fn happened_by(&self) -> Timestamp {
        self.report.date.map_or(self.mark.recorded_at, |date| date.min(self.mark.recorded_at))
    }

    /// When a webhook reported it, or would have.
    pub fn heard_at(&self) -> Timestamp {
        if self.is_second_hand { self.happened_by() } else { self.mark.recorded_at }
    }
}
