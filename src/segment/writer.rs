//! Writes a segment: into a temporary file, synced, read back and verified, and only then under its name. Knows nothing of
//! where its frames come from.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::footer::Index;
use super::frame::Frame;
use super::header::{self, SegmentHeader};
use super::{Segment, SegmentError, failed};
use crate::event::Position;

const BUFFER_BYTES: usize = 256 * 1024;

/// A segment that is being written. Dropped before it is finished, it leaves a temporary file for the next start to sweep.
pub struct SegmentWriter {
    directory: PathBuf,
    header: SegmentHeader,
    temporary: PathBuf,
    file: BufWriter<File>,
    digest: Sha256,
    index: Index,
}

impl SegmentWriter {
    /// Creates the temporary file in `directory`.
    pub fn create(directory: &Path, header: SegmentHeader) -> Result<Self, SegmentError> {
        let temporary = directory.join(format!("{:020}.new", header.first));
        let file = File::create(&temporary).map_err(failed("create", &temporary))?;
        let index = Index::empty(header.first, header.before, header::BYTES as u64);
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut writer =
            Self { directory: directory.to_owned(), header, temporary, file, digest: Sha256::new(), index };
        writer.write(&header.encode())?;
        Ok(writer)
    }

    /// Appends the bytes of one frame, which must follow the last one.
    pub fn push(&mut self, frame: &[u8]) -> Result<(), SegmentError> {
        let decoded = Frame::decode(frame).map_err(|garbled| SegmentError::OutOfOrder(garbled.0))?;
        self.index.push(&decoded.header, frame.len()).map_err(|garbled| SegmentError::OutOfOrder(garbled.0))?;
        self.write(frame)
    }

    /// The last position so far; the one before the segment's first if there is none.
    pub fn last(&self) -> Position {
        self.index.last
    }

    /// Returns once the segment is durable under its name, and has been read back from the disk and found right.
    pub fn finish(mut self) -> Result<Segment, SegmentError> {
        if self.index.entries.is_empty() {
            return Err(SegmentError::OutOfOrder("a segment has at least one frame"));
        }
        let digest = self.digest.clone();
        let footer = self.index.encode(|entries| digest.chain_update(entries).finalize().into());
        self.file.write_all(&footer).map_err(failed("write", &self.temporary))?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(failed("sync", &self.temporary))?;
        Segment::open(&self.temporary)?.verify()?;
        let path = self.directory.join(name(self.header.first, self.index.last));
        fs::rename(&self.temporary, &path).map_err(failed("rename", &self.temporary))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed("sync", &self.directory))?;
        Segment::open(&path)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SegmentError> {
        self.digest.update(bytes);
        self.file.write_all(bytes).map_err(failed("write", &self.temporary))
    }
}

/// The file name of a segment.
fn name(first: Position, last: Position) -> String {
    format!("{first:020}-{last:020}.seg")
}
