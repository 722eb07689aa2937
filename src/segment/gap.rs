//! A gap: positions of which nothing is left, with a note of who accepted the loss. Knows only this frame, no file. Kept
//! apart: it is a format of its own, stored as a frame without records, whose columns are this payload, verbatim:
//!
//! ```text
//! u32 length ‖ who accepted it ‖ i64 when, µs
//! ```

use super::frame::{Frame, FrameHeader, GAP};
use crate::event::{Hash, Position, Timestamp};
use crate::storage::{DecodeError, Put, Take};

/// Acceptance that positions are missing: by whom, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub accepted_by: String,
    pub accepted_at: Timestamp,
}

impl Gap {
    /// Encodes the frame for `count` missing positions from `first` on, after a record of time `recorded_at`. The next
    /// frame continues from the chain value `after`.
    pub fn encode(
        &self,
        first: Position,
        count: u32,
        recorded_at: Timestamp,
        before: Hash,
        after: Hash,
    ) -> Result<Vec<u8>, DecodeError> {
        let mut payload = Vec::with_capacity(12 + self.accepted_by.len());
        payload.put_prefixed(self.accepted_by.as_bytes());
        payload.put_i64(self.accepted_at.as_micros());
        let header = FrameHeader {
            codec: GAP,
            count,
            first,
            first_recorded_at: recorded_at,
            last_recorded_at: recorded_at,
            before,
            after,
            columns_expanded: u32::try_from(payload.len()).map_err(|_| DecodeError("a gap's payload is too large"))?,
        };
        Frame { header, columns: &payload, private: &[] }.encode()
    }

    /// Decodes the gap in a frame. `None` if the frame holds records.
    pub fn of(frame: &Frame<'_>) -> Result<Option<Self>, DecodeError> {
        if !frame.header.is_gap() {
            return Ok(None);
        }
        let mut take = Take(frame.columns);
        let gap = Self { accepted_by: take.text()?, accepted_at: Timestamp::from_micros(take.i64()?) };
        take.end()?;
        Ok(Some(gap))
    }
}
