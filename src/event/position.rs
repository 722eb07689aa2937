//! Places in the log. Knows nothing of events.

/// A place in the log: 1, 2, 3, ... without gaps within an epoch. 0 is before the first event.
pub type Position = u64;

/// A SHA-256 value.
pub type Hash = [u8; 32];
