//! Places in the log, and the identity of a log. Knows nothing of events.

use super::time::Timestamp;

/// A place in the log: 1, 2, 3, ... without gaps within an epoch. 0 is before the first event.
pub type Position = u64;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// The first 8 bytes of the hash chain's value at a position: enough to detect another history.
pub type ChainPrefix = [u8; 8];

/// Identity of a log and of its current epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Created with the log. Never changes.
    pub log_id: u128,
    /// Replaced when the log is restored from a backup: its positions may then mean other events.
    pub epoch: u128,
}

impl Identity {
    /// Returns the stored form: the log id and the epoch, big-endian.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (log_id, epoch) = bytes.split_at_mut(16);
        log_id.copy_from_slice(&self.log_id.to_be_bytes());
        epoch.copy_from_slice(&self.epoch.to_be_bytes());
        bytes
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let half = |at: usize| u128::from_be_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Self { log_id: half(0), epoch: half(16) }
    }
}

/// A position with what the log has there. The default is before the first event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Point {
    pub position: Position,
    /// Hash chain value at `position`.
    pub chain: Hash,
    /// Time at which that event was recorded.
    pub recorded_at: Timestamp,
}

impl Point {
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.position, &self.chain)
    }
}

/// A position with enough of the chain to detect another history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub position: Position,
    pub chain: ChainPrefix,
}

impl Cursor {
    /// The place before the first event.
    pub const BEGINNING: Self = Self { position: 0, chain: [0; 8] };

    /// Returns the cursor at a position. `chain` is the hash chain's value there.
    pub fn new(position: Position, chain: &Hash) -> Self {
        Self { position, chain: std::array::from_fn(|byte| chain[byte]) }
    }
}
