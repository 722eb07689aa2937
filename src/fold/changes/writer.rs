//! Owns appending to the change log, frame by frame. Knows no thread.

use std::sync::Arc;

use super::change_log::ChangeLog;
use super::frame::{ChangeFrameBuilder, Recorded};
use crate::event::Position;
use crate::segment::SegmentError;
use crate::storage::StoreError;

/// Number of bytes appended between two syncs. Keeps each sync short, so that it does not delay a sync of the log.
const UNSYNCED_BYTES_MAX: usize = 512 * 1024;

pub struct Writer {
    log: Arc<ChangeLog>,
    frame: ChangeFrameBuilder,
    /// Length at which the growing segment is closed.
    segment_bytes: u64,
    unsynced: usize,
}

impl Writer {
    /// Creates a writer that continues where the change log ends.
    pub fn new(log: Arc<ChangeLog>, segment_bytes: u64) -> Self {
        let (last, chain) = log.end();
        Self { frame: ChangeFrameBuilder::new(last, chain), log, segment_bytes, unsynced: 0 }
    }

    /// Returns the first unwritten position: every position before it can be read.
    pub fn next_unwritten(&self) -> Position {
        self.frame.first()
    }

    /// Records the next folded event.
    pub fn record(&mut self, recorded: &Recorded) -> Result<(), StoreError> {
        if self.frame.prepare(recorded) {
            self.write()?;
        }
        self.frame.push(recorded);
        Ok(())
    }

    /// Makes everything recorded durable.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.write()?;
        Ok(self.sync_written()?)
    }

    /// Makes everything recorded readable.
    fn write(&mut self) -> Result<(), StoreError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let bytes = self.frame.finish()?;
        Ok(self.append(&bytes)?)
    }

    fn append(&mut self, frame: &[u8]) -> Result<(), SegmentError> {
        let growing = self.log.growing();
        growing.append(frame)?;
        self.unsynced += frame.len();
        if growing.bytes() >= self.segment_bytes {
            self.unsynced = 0;
            return self.log.begin_next();
        }
        if self.unsynced < UNSYNCED_BYTES_MAX { Ok(()) } else { self.sync_written() }
    }

    fn sync_written(&mut self) -> Result<(), SegmentError> {
        self.unsynced = 0;
        self.log.growing().sync()
    }
}
