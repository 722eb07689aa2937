//! Reads a segment: single frames by position, or the whole file to verify it. Must not write, and must not know the
//! meaning of a record.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::error::SegmentError;
use super::footer::{FrameIndex, TAIL_BYTES};
use super::frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, Frame, FrameStart};
use super::header::{self, SegmentHeader, read_header};
use super::name::SegmentName;
use crate::event::{Hash, Identity, Position, Timestamp};
use crate::storage::{AtOnce, PIECE_BYTES, Pace};

/// An open segment. Its file stays readable after it is removed.
pub struct Segment {
    path: PathBuf,
    name: SegmentName,
    file: File,
    header: SegmentHeader,
    /// Index of the frames, as far as they were found.
    index: FrameIndex,
    is_footer_damaged: bool,
}

impl Segment {
    /// Opens a segment of this log and epoch: reads its header and its footer. The segment must have the range that its
    /// name says. If the footer is damaged, walks over the frames. In that case everything after a damaged frame is
    /// damaged, too.
    pub fn open(path: &Path, identity: Identity) -> Result<Self, SegmentError> {
        let name = SegmentName::of(path).ok_or_else(|| damaged(path, 0, "its name is not that of a segment"))?;
        Self::open_as(path, name, identity)
    }

    /// Like [`Self::open`], but under a name that the file does not have yet.
    pub(super) fn open_as(path: &Path, name: SegmentName, identity: Identity) -> Result<Self, SegmentError> {
        let file = File::open(path).map_err(SegmentError::io("open", path))?;
        let header = read_header(&file, path, name.first)?;
        if header.identity != identity {
            return Err(SegmentError::Foreign { path: path.to_owned() });
        }
        let bytes = file.metadata().map_err(SegmentError::io("open", path))?.len();
        let footer = read_footer(&file, bytes).map_err(SegmentError::io("read", path))?;
        let is_footer_damaged = footer.is_none();
        let index = match footer {
            Some(index) => index,
            None => walk(&file, &header, read_if_whole).map_err(SegmentError::io("read", path))?,
        };
        let has_range = header.first == name.first
            && if is_footer_damaged { index.last <= name.last } else { index.last == name.last };
        if !has_range || index.entries.first().is_some_and(|entry| entry.first != name.first) {
            return Err(damaged(path, name.first, "it does not have the range in its name"));
        }
        Ok(Self { path: path.to_owned(), name, file, header, index, is_footer_damaged })
    }

    pub(super) fn set_path(&mut self, path: PathBuf) {
        self.path = path;
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Returns the last position, by the name.
    pub fn last(&self) -> Position {
        self.name.last
    }

    /// Returns the frames in order, from the one that holds a position on, each checked.
    pub fn frames_from(&self, position: Position) -> impl Iterator<Item = Result<Vec<u8>, SegmentError>> {
        let skipped = self.index.find(position).unwrap_or(0);
        self.index.entries[skipped..].iter().map(|entry| {
            let frame = self.read(entry.first)?;
            frame.ok_or_else(|| self.damaged(entry.first, "no frame holds the position"))
        })
    }

    /// Returns the last position of the frame that should hold a position, by the index. If no frame is found there,
    /// the last position of the segment.
    pub fn frame_end(&self, position: Position) -> Position {
        let next = self.index.find(position).and_then(|number| self.index.entries.get(number + 1));
        match next {
            Some(next) => next.first - 1,
            None if position <= self.index.last => self.index.last,
            None => self.name.last,
        }
    }

    /// Returns the chain value after the last record. `None` if damage hides it.
    pub fn after(&self) -> Option<Hash> {
        (self.index.last == self.name.last).then_some(self.index.after)
    }

    /// Returns the last position, as far as frames were found.
    pub fn readable_through(&self) -> Position {
        self.index.last
    }

    /// Returns the time at which the last record was recorded, as far as frames were found.
    pub fn last_recorded_at(&self) -> Timestamp {
        self.index.last_recorded_at
    }

    /// Returns the length of the header and the frames.
    pub fn bytes(&self) -> u64 {
        self.index.end
    }

    /// Removes the file. Open handles can still read it.
    pub fn remove(&self) -> Result<(), SegmentError> {
        fs::remove_file(&self.path).map_err(SegmentError::io("remove", &self.path))
    }

    /// Returns whether the footer is damaged. If so, a walk over the frames made the index.
    pub fn is_footer_damaged(&self) -> bool {
        self.is_footer_damaged
    }

    /// Returns the bytes of the frame that holds a position, checked. `None` outside the segment.
    pub fn read(&self, position: Position) -> Result<Option<Vec<u8>>, SegmentError> {
        if !(self.name.first..=self.name.last).contains(&position) {
            return Ok(None);
        }
        let found = self.index.find(position).and_then(|number| Some((number, self.index.range(number)?)));
        let Some((number, range)) = found else {
            return Err(self.damaged(self.index.last + 1, "no frame was found there"));
        };
        let first = self.index.entries[number].first;
        read_frame(&self.file, &self.path, first, Some(range), position).map(Some)
    }

    /// Verifies the whole file: header, each frame, the order of the frames, footer and digest. First drops its pages
    /// from the system's cache, as far as the file system does that.
    pub fn verify(&self) -> Result<(), SegmentError> {
        self.verify_in_pieces(&mut AtOnce)
    }

    /// Like [`Self::verify`], but in pieces.
    pub(super) fn verify_in_pieces(&self, pace: &mut impl Pace) -> Result<(), SegmentError> {
        let dropped = fadvise(&self.file, 0, None, Advice::DontNeed).map_err(io::Error::from);
        dropped.map_err(SegmentError::io("read back", &self.path))?;
        if read_header(&self.file, &self.path, self.name.first)? != self.header {
            return Err(self.damaged(self.name.first, "its header has changed"));
        }
        let mut digest = Sha256::new();
        digest.update(self.header.encode());
        let mut index = FrameIndex::empty(self.header.first, self.header.before, header::BYTES as u64);
        let mut unpaused = 0;
        while index.last < self.name.last {
            let from = index.last + 1;
            let bytes = self.read(from)?.ok_or_else(|| self.damaged(from, "no frame holds the position"))?;
            let frame = Frame::decode(&bytes).map_err(|error| self.damaged(from, error.0))?;
            index.push(&frame.header, bytes.len()).map_err(|error| self.damaged(from, error.0))?;
            digest.update(&bytes);
            unpaused += bytes.len();
            if unpaused >= PIECE_BYTES {
                unpaused = 0;
                pace.pause();
            }
        }
        let footer = index.encode(|entries| digest.chain_update(entries).finalize().into());
        let mut stored = vec![0; footer.len()];
        let is_there =
            read_at(&self.file, &mut stored, index.end).map_err(SegmentError::io("read back", &self.path))?;
        let bytes = self.file.metadata().map_err(SegmentError::io("read back", &self.path))?.len();
        if is_there && stored == footer && bytes == index.end + footer.len() as u64 {
            Ok(())
        } else {
            Err(self.damaged(self.name.first, "its footer does not match its frames"))
        }
    }

    fn damaged(&self, from: Position, reason: &'static str) -> SegmentError {
        damaged(&self.path, from, reason)
    }
}

/// Returns the bytes of the frame whose first position is `first` and which must hold `position`, checked. `range` is
/// where the frame begins and ends in the file.
pub(super) fn read_frame(
    file: &File,
    path: &Path,
    first: Position,
    range: Option<Range<u64>>,
    position: Position,
) -> Result<Vec<u8>, SegmentError> {
    let length = range.as_ref().and_then(|range| usize::try_from(range.end - range.start).ok());
    let length = length.filter(|length| *length <= FRAME_BYTES_MAX);
    let (Some(range), Some(length)) = (range, length) else {
        return Err(damaged(path, first, "a frame is too large"));
    };
    let mut bytes = vec![0; length];
    if !read_at(file, &mut bytes, range.start).map_err(SegmentError::io("read", path))? {
        return Err(damaged(path, first, "the file is too short"));
    }
    let frame = Frame::decode(&bytes).map_err(|error| damaged(path, first, error.0))?;
    if frame.header.first != first || !(first..=frame.header.last()).contains(&position) {
        return Err(damaged(path, first, "a frame is in the wrong place"));
    }
    Ok(bytes)
}

fn damaged(path: &Path, from: Position, reason: &'static str) -> SegmentError {
    SegmentError::Damaged { path: path.to_owned(), from, reason }
}

/// Fills `bytes` from an offset. Returns false if the file ends too soon.
pub(super) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

/// Like [`read_at`], but also returns false if the disk cannot read the bytes.
pub(super) fn read_if_whole(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    match read_at(file, bytes, offset) {
        Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(false),
        read => read,
    }
}

/// Reads the footer. `None` if it is damaged.
fn read_footer(file: &File, bytes: u64) -> io::Result<Option<FrameIndex>> {
    let Some(tail_at) = bytes.checked_sub(TAIL_BYTES as u64) else { return Ok(None) };
    let mut tail = [0; TAIL_BYTES];
    if !read_if_whole(file, &mut tail, tail_at)? {
        return Ok(None);
    }
    let Ok(entries) = FrameIndex::entries_bytes(&tail) else { return Ok(None) };
    let Some(end) = tail_at.checked_sub(entries as u64) else { return Ok(None) };
    if end <= header::BYTES as u64 {
        return Ok(None);
    }
    let mut footer = vec![0; entries + TAIL_BYTES];
    if !read_if_whole(file, &mut footer, end)? {
        return Ok(None);
    }
    Ok(FrameIndex::decode(&footer, end).ok())
}

/// Signature of [`read_at`] and [`read_if_whole`].
type ReadAt = fn(&File, &mut [u8], u64) -> io::Result<bool>;

/// Walks over the frames, as far as they are whole and follow one another.
pub(super) fn walk(file: &File, header: &SegmentHeader, read: ReadAt) -> io::Result<FrameIndex> {
    let mut index = FrameIndex::empty(header.first, header.before, header::BYTES as u64);
    while let Some(bytes) = frame_at(file, index.end, read)? {
        let Ok(frame) = Frame::decode(&bytes) else { break };
        if index.push(&frame.header, bytes.len()).is_err() {
            break;
        }
    }
    Ok(index)
}

/// Returns the bytes that a frame at an offset claims. `None` if no frame begins there.
fn frame_at(file: &File, offset: u64, read: ReadAt) -> io::Result<Option<Vec<u8>>> {
    let mut start = [0; FRAME_HEADER_BYTES];
    if !read(file, &mut start, offset)? {
        return Ok(None);
    }
    let Ok(start) = FrameStart::read(&start) else { return Ok(None) };
    let mut frame = vec![0; start.bytes()];
    Ok(read(file, &mut frame, offset)?.then_some(frame))
}
