//! Order of a list: by id, or by a rank of each row. Page tokens carry a row's place in this order. Knows nothing of
//! filters.

use std::collections::BTreeMap;

use crate::event::Timestamp;
use crate::fold::{Connection, ExportCandidate, Id};
use crate::serve::refusal::Refusal;

/// Place of a row: rank first, then id. In the order of ids all rows have the same rank.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowPlace {
    pub rank: i64,
    pub id: Id,
}

/// Rank of rows without the field. They come last, ascending and descending.
const LAST: i64 = i64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// `None` if by id, ascending.
    by: Option<Field>,
    descending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    LastRecordedAt = 1,
    ConsentExpiresAt = 2,
    Deadline = 3,
}

impl Order {
    pub const BY_ID: Self = Self { by: None, descending: false };

    pub fn of_connections(order_by: &str) -> Result<Self, Refusal> {
        let problem = "neither last_recorded_at nor consent_expires_at, nor one of these and desc";
        Self::read(order_by, [Field::LastRecordedAt, Field::ConsentExpiresAt], problem)
    }

    pub fn of_exports(order_by: &str) -> Result<Self, Refusal> {
        let problem = "neither last_recorded_at nor deadline, nor one of these and desc";
        Self::read(order_by, [Field::LastRecordedAt, Field::Deadline], problem)
    }

    /// Parses `order_by` as in AIP-132, but with one field only.
    fn read(order_by: &str, fields: [Field; 2], problem: &'static str) -> Result<Self, Refusal> {
        let mut words = order_by.split_ascii_whitespace();
        let Some(name) = words.next() else { return Ok(Self::BY_ID) };
        let by = fields.into_iter().find(|field| field.name() == name);
        let descending = match (words.next(), words.next()) {
            (None | Some("asc"), None) => Some(false),
            (Some("desc"), None) => Some(true),
            _ => None,
        };
        let read = by.zip(descending).map(|(by, descending)| Self { by: Some(by), descending });
        read.ok_or(Refusal::InvalidField { field: "order_by", problem })
    }

    pub fn is_by_deadline(self) -> bool {
        self.by == Some(Field::Deadline)
    }

    pub fn is_by_id(self) -> bool {
        self.by.is_none()
    }

    /// Returns a number that distinguishes orders in tokens.
    pub fn number(self) -> u64 {
        self.by.map_or(0, |field| field as u64 * 2 + u64::from(self.descending))
    }

    pub fn rank_of_connection(self, connection: &Connection) -> i64 {
        self.rank(|field| match field {
            Field::LastRecordedAt => Some(connection.lineage.last.position.cast_signed()),
            Field::ConsentExpiresAt => connection.attempt.consent_expires_at.map(Timestamp::as_micros),
            Field::Deadline => None,
        })
    }

    /// Returns the rank of an export, without its state.
    pub fn rank_of_export(self, candidate: &ExportCandidate) -> i64 {
        self.rank(|field| match field {
            // Events are recorded in the order of their positions.
            Field::LastRecordedAt => Some(candidate.changed_at().cast_signed()),
            Field::Deadline => candidate.deadline().map(Timestamp::as_micros),
            Field::ConsentExpiresAt => None,
        })
    }

    fn rank(self, value: impl Fn(Field) -> Option<i64>) -> i64 {
        let Some(field) = self.by else { return 0 };
        value(field).map_or(LAST, |value| if self.descending { -value } else { value })
    }
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::LastRecordedAt => "last_recorded_at",
            Self::ConsentExpiresAt => "consent_expires_at",
            Self::Deadline => "deadline",
        }
    }
}

/// Returns the first `count` rows after a place, in order. Visits every row, and keeps at most `count`.
pub fn first<T>(
    all: impl Iterator<Item = (RowPlace, T)>,
    after: Option<&RowPlace>,
    count: usize,
) -> impl Iterator<Item = (RowPlace, T)> {
    let mut first = BTreeMap::new();
    for (place, row) in all.filter(|(place, _)| after.is_none_or(|after| place > after)) {
        if first.len() < count {
            first.insert(place, row);
        } else if first.last_key_value().is_some_and(|(last, _)| place < *last) {
            first.insert(place, row);
            first.pop_last();
        }
    }
    first.into_iter()
}
