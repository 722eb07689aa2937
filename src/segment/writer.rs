//! Writes a segment into a temporary file, syncs it, reads it back, verifies it, and only then gives it its name. Must
//! not know where its frames come from.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::error::SegmentError;
use super::file::Segment;
use super::footer::FrameIndex;
use super::frame::Frame;
use super::header::{self, SegmentHeader};
use super::name::SegmentName;
use crate::event::Position;
use crate::storage::{PIECE_BYTES, Pace};

const BUFFER_BYTES: usize = 256 * 1024;
/// Maximum number of temporary files with one first position, in use or left over.
const TEMPORARY_MAX: usize = 1000;

/// A segment that is being written. Its temporary file is removed when this is dropped or finished.
pub struct SegmentWriter<P> {
    directory: PathBuf,
    header: SegmentHeader,
    temporary: TemporarySegment,
    file: BufWriter<File>,
    unsynced: usize,
    pace: P,
    digest: Sha256,
    index: FrameIndex,
}

/// A file that is removed when this is dropped.
struct TemporarySegment(PathBuf);

impl Drop for TemporarySegment {
    fn drop(&mut self) {
        // A finished segment keeps its own name, a hard link. A file that is already gone is no error.
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, "a half-written segment cannot be removed; the next start removes it");
        }
    }
}

impl<P: Pace> SegmentWriter<P> {
    /// Creates a temporary file in `directory`. All of the work is done at `pace`.
    pub fn create(directory: &Path, header: SegmentHeader, pace: P) -> Result<Self, SegmentError> {
        if header.first == 0 {
            return Err(SegmentError::OutOfOrder("a segment cannot begin at position 0"));
        }
        let (file, temporary) = create_new(directory, header.first)?;
        let index = FrameIndex::empty(header.first, header.before, header::BYTES as u64);
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut writer = Self {
            directory: directory.to_owned(),
            header,
            temporary,
            file,
            unsynced: 0,
            pace,
            digest: Sha256::new(),
            index,
        };
        writer.write(&header.encode())?;
        Ok(writer)
    }

    /// Appends the bytes of one frame, which must follow the last one.
    pub fn push(&mut self, frame: &[u8]) -> Result<(), SegmentError> {
        let decoded = Frame::decode(frame).map_err(|error| SegmentError::OutOfOrder(error.0))?;
        self.index.push(&decoded.header, frame.len()).map_err(|error| SegmentError::OutOfOrder(error.0))?;
        self.write(frame)
    }

    /// Returns the last position written. Without a frame, the position before the segment's first.
    pub fn last(&self) -> Position {
        self.index.last
    }

    /// Finishes the segment. Returns once it is durable under its name, and was read back and found right. Does not
    /// replace a file that has the name already.
    pub fn finish(mut self) -> Result<Segment, SegmentError> {
        if self.index.entries.is_empty() {
            return Err(SegmentError::OutOfOrder("a segment needs at least one frame"));
        }
        let temporary = &self.temporary.0;
        let digest = self.digest.clone();
        let footer = self.index.encode(|entries| digest.chain_update(entries).finalize().into());
        self.file.write_all(&footer).map_err(SegmentError::io("write", temporary))?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(SegmentError::io("sync", temporary))?;
        let name = SegmentName { first: self.header.first, last: self.index.last };
        let mut segment = Segment::open_as(temporary, name, self.header.identity)?;
        segment.verify_in_pieces(&mut self.pace)?;
        let path = self.directory.join(name.to_string());
        // Unlike a rename, a link replaces nothing.
        fs::hard_link(temporary, &path).map_err(SegmentError::io("name", &path))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(SegmentError::io("sync", &self.directory))?;
        segment.set_path(path);
        Ok(segment)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SegmentError> {
        self.digest.update(bytes);
        self.file.write_all(bytes).map_err(SegmentError::io("write", &self.temporary.0))?;
        self.unsynced += bytes.len();
        if self.unsynced >= PIECE_BYTES {
            self.unsynced = 0;
            if self.pace.is_slow() {
                self.file.flush().map_err(SegmentError::io("write", &self.temporary.0))?;
                self.file.get_ref().sync_data().map_err(SegmentError::io("sync", &self.temporary.0))?;
            }
            self.pace.pause();
        }
        Ok(())
    }
}

/// Creates a file that no other writer has.
fn create_new(directory: &Path, first: Position) -> Result<(File, TemporarySegment), SegmentError> {
    for number in 0..TEMPORARY_MAX {
        let path = directory.join(format!("{first:020}.{number}.new"));
        match File::create_new(&path) {
            Ok(file) => return Ok((file, TemporarySegment(path))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(SegmentError::io("create", &path)(error)),
        }
    }
    Err(SegmentError::io("create a file in", directory)(io::Error::other("there are too many half-written segments")))
}
