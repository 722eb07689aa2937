//! What a start learns from other files, and reports of the data directory.

use std::ops::RangeInclusive;

use crate::event::{Identity, Point, Position};

/// Point of the log that a file outside it names.
#[derive(Debug, Clone)]
pub struct SeenPoint {
    /// Name of the file, as in "a checkpoint (views/1/...)".
    pub by: String,
    pub identity: Identity,
    pub head: Point,
}

/// Problems that are no reason to refuse the log.
#[derive(Debug, Default)]
pub struct Notes {
    /// Problems that cost nothing: other files have the same content.
    pub mended: Vec<String>,
    pub losses: Vec<Loss>,
}

/// Acknowledged events that cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("events {} to {} cannot be read: {reason}", .range.start(), .range.end())]
pub struct Loss {
    pub range: RangeInclusive<Position>,
    pub reason: &'static str,
}

impl Notes {
    pub fn note(&mut self, text: String) {
        self.mended.push(text);
    }

    pub fn lose(&mut self, range: RangeInclusive<Position>, reason: &'static str) {
        self.losses.push(Loss { range, reason });
    }
}
