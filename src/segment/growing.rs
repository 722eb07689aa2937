//! A segment that grows: frames are appended to a file that has no footer yet, and can be read immediately. Only for
//! derived data: bytes after the last whole frame are cut off when the file is opened again. Must not know the meaning
//! of a record.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustix::fs::{Advice, fadvise};
use sha2::{Digest as _, Sha256};

use super::error::SegmentError;
use super::file::{Segment, read_at, read_frame, read_if_whole, walk};
use super::footer::FrameIndex;
use super::frame::Frame;
use super::header::{self, SegmentHeader, read_header};
use super::name::SegmentName;
use crate::event::{Hash, Identity, Position};
use crate::storage::DecodeError;

const EXTENSION: &str = "open";

/// A growing segment. One thread appends, any thread reads.
pub struct GrowingSegment {
    path: PathBuf,
    file: File,
    header: SegmentHeader,
    /// Index of the frames that can be read.
    index: RwLock<FrameIndex>,
    /// Length that is known to be durable.
    synced: AtomicU64,
    cut_bytes: u64,
}

impl GrowingSegment {
    /// Returns the path of the growing segment that begins at a position.
    pub fn path(directory: &Path, first: Position) -> PathBuf {
        directory.join(format!("{first:020}.{EXTENSION}"))
    }

    /// Returns whether a path has the name of a growing segment.
    pub fn is_named(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == EXTENSION)
    }

    /// Creates a growing segment in `directory`, without a frame. Replaces a file of its name.
    pub fn create(directory: &Path, header: SegmentHeader) -> Result<Self, SegmentError> {
        let path = Self::path(directory, header.first);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).map_err(SegmentError::io("create", &path))?;
        file.write_all_at(&header.encode(), 0).map_err(SegmentError::io("write", &path))?;
        sync_directory(directory)?;
        let index = RwLock::new(FrameIndex::empty(header.first, header.before, header::BYTES as u64));
        Ok(Self { path, file, header, index, synced: AtomicU64::new(0), cut_bytes: 0 })
    }

    /// Opens the file that an earlier process left. Cuts off the bytes after the last whole frame. Bytes that the
    /// system refuses to read are an error up to position `needed`; after it they are the end.
    pub fn open(path: &Path, identity: Identity, needed: Position) -> Result<Self, SegmentError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(SegmentError::io("open", path))?;
        let first = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).unwrap_or_default();
        let header = read_header(&file, path, first)?;
        if header.identity != identity {
            return Err(SegmentError::Foreign { path: path.to_owned() });
        }
        if header.first != first {
            let reason = "it does not begin at the position in its name";
            return Err(SegmentError::Damaged { path: path.to_owned(), from: first, reason });
        }
        let mut index = walk(&file, &header, read_if_whole).map_err(SegmentError::io("read", path))?;
        if index.last < needed {
            index = walk(&file, &header, read_at).map_err(SegmentError::io("read", path))?;
        }
        let bytes = file.metadata().map_err(SegmentError::io("read", path))?.len();
        let cut_bytes = bytes.saturating_sub(index.end);
        file.set_len(index.end).map_err(SegmentError::io("shorten", path))?;
        file.sync_data().map_err(SegmentError::io("sync", path))?;
        let synced = AtomicU64::new(index.end);
        Ok(Self { path: path.to_owned(), file, header, index: RwLock::new(index), synced, cut_bytes })
    }

    /// Returns the number of bytes that were cut off when it was opened.
    pub fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Returns the last position. Without a frame, the position before the first.
    pub fn last(&self) -> Position {
        self.index.read().last
    }

    /// Returns the chain value after the last record.
    pub fn after(&self) -> Hash {
        self.index.read().after
    }

    /// Returns the length of the file.
    pub fn bytes(&self) -> u64 {
        self.index.read().end
    }

    /// Appends the bytes of one frame, which must follow the last one. The frame can be read when this returns, and is
    /// durable after [`Self::sync`]. After a system error the file may have a torn end, which the next append replaces.
    pub fn append(&self, frame: &[u8]) -> Result<(), SegmentError> {
        let out_of_order = |error: DecodeError| SegmentError::OutOfOrder(error.0);
        let decoded = Frame::decode(frame).map_err(out_of_order)?;
        self.index.read().check_next(&decoded.header).map_err(out_of_order)?;
        self.file.write_all_at(frame, self.bytes()).map_err(SegmentError::io("write", &self.path))?;
        let mut index = self.index.write();
        index.push(&decoded.header, frame.len()).map_err(out_of_order)
    }

    /// Makes all appended frames durable. After an error nothing more may be appended: bytes that were not synced
    /// before are cut off, because the system may show them for a while although the disk does not have them.
    pub fn sync(&self) -> Result<(), SegmentError> {
        let end = self.bytes();
        match self.file.sync_data() {
            Ok(()) => {
                self.synced.store(end, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                if let Err(error) = self.file.set_len(self.synced.load(Ordering::Acquire)) {
                    tracing::warn!(%error, "the unsynced end of a segment cannot be cut off");
                }
                Err(SegmentError::io("sync", &self.path)(error))
            }
        }
    }

    /// Returns the bytes of the frame that holds a position, checked. `None` outside the segment.
    pub fn read(&self, position: Position) -> Result<Option<Vec<u8>>, SegmentError> {
        let index = self.index.read();
        let Some(number) = index.find(position) else { return Ok(None) };
        let first = index.entries[number].first;
        let range = index.range(number);
        drop(index);
        read_frame(&self.file, &self.path, first, range, position).map(Some)
    }

    /// Reads the whole file back, adds the footer, and renames the file to its range. There must be a frame. Nothing
    /// may be appended afterwards.
    pub fn finish(&self) -> Result<Segment, SegmentError> {
        self.sync()?;
        let dropped = fadvise(&self.file, 0, None, Advice::DontNeed).map_err(io::Error::from);
        dropped.map_err(SegmentError::io("read back", &self.path))?;
        let index = self.index.read().clone();
        let mut digest = Sha256::new();
        digest.update(self.header.encode());
        for number in 0..index.entries.len() {
            let first = index.entries[number].first;
            digest.update(read_frame(&self.file, &self.path, first, index.range(number), first)?);
        }
        let footer = index.encode(|entries| digest.chain_update(entries).finalize().into());
        self.file.set_len(index.end).map_err(SegmentError::io("shorten", &self.path))?;
        self.file.write_all_at(&footer, index.end).map_err(SegmentError::io("write", &self.path))?;
        self.sync()?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let path = directory.join(SegmentName { first: self.header.first, last: index.last }.to_string());
        fs::rename(&self.path, &path).map_err(SegmentError::io("name", &path))?;
        sync_directory(directory)?;
        Segment::open(&path, self.header.identity)
    }
}

fn sync_directory(directory: &Path) -> Result<(), SegmentError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(SegmentError::io("sync", directory))
}
