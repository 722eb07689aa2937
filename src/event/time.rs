//! Time as it is stored, and the type of its source. Reads no clock.

use std::sync::Arc;

/// Microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time that is later by `micros`. Saturates at the ends of the range.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// Source of the time. Created once, at the edge, and passed to all other code.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
