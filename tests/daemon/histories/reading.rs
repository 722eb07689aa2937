//! Checks one stream, message by message, against the changes that must be sent.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use super::checker::Property;
use super::history::{Effect, Row, Rows, What};
use super::story::Truth;

/// Progress of a session.
pub struct Reading {
    /// Position up to which everything has been sent.
    pub at: u64,
    /// Position and rows of the last change.
    changed: Option<(u64, Rows)>,
    /// Rows received of a snapshot. `None` outside a snapshot.
    snapshot: Option<Rows>,
    /// Property that is broken if a change is left out right after the start.
    seam: Option<Property>,
}

impl Reading {
    /// Returns a reading that begins at `at`. `resumed`: with a token.
    pub fn from(at: u64, snapshot: bool, resumed: bool) -> Self {
        let seam = match (snapshot, resumed) {
            (true, _) => Property::GapFree,
            (false, true) => Property::Resumable,
            (false, false) => Property::Reliable,
        };
        Self { at, changed: None, snapshot: snapshot.then(Rows::new), seam: Some(seam) }
    }

    /// Checks the next message against the changes that must be sent. The caller must set `at` afterwards.
    pub fn take(&mut self, position: u64, what: &What, truth: &Truth) -> Result<(), (Property, String)> {
        let until = match what {
            What::Started { .. } => return Err((Property::Ordered, "it starts twice".to_owned())),
            What::Snapshot(rows) => return self.take_rows(rows),
            What::SnapshotEnd => return self.end_of_snapshot(position, truth),
            What::Changes(_) => Excluded(position),
            What::CaughtUp | What::FellBehind | What::Heartbeat | What::GoingAway => Included(position),
        };
        if self.snapshot.is_some() {
            // Inside a snapshot only the end of the watch may come.
            let going = matches!(what, What::GoingAway);
            return if going { Ok(()) } else { Err((Property::GapFree, format!("{what:?} inside a snapshot"))) };
        }
        let left_out = if position > self.at { truth.range((Excluded(self.at), until)).next() } else { None };
        if let Some((left_out, _)) = left_out {
            let usual = if matches!(what, What::Changes(_)) { Property::Reliable } else { Property::Bookmarkable };
            return Err((self.seam.unwrap_or(usual), format!("{left_out} is left out at {position}, {what:?}")));
        }
        if position != self.at {
            self.seam = None;
        }
        if let What::Changes(rows) = what { self.change(position, rows, truth) } else { Ok(()) }
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
        let received = self.snapshot.take();
        let expected = state(truth, position);
        if received.as_ref() == Some(&expected) {
            return Ok(());
        }
        let what = format!("at {position} a snapshot of {received:?}, not {expected:?}");
        Err((Property::GapFree, what))
    }
}

/// Returns the rows that match at a position.
fn state(truth: &Truth, position: u64) -> Rows {
    let mut there = BTreeMap::new();
    for row in truth.range(..=position).flat_map(|(_, rows)| rows) {
        match row.effect {
            Effect::Entered | Effect::Updated => there.insert((row.kind, &row.id), row),
            Effect::Left => there.remove(&(row.kind, &row.id)),
        };
    }
    there.into_values().map(|row| Row { effect: Effect::Entered, ..row.clone() }).collect()
}
