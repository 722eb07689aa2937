//! Reads a segment: single frames by position, or all of it to verify it. Never writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};
use sha2::{Digest as _, Sha256};

use super::footer::{Index, TAIL_BYTES};
use super::frame::{Frame, FrameStart, HEADER_BYTES};
use super::header::{self, SegmentHeader};
use super::{SegmentError, failed};
use crate::event::{Hash, Position, Timestamp};
use crate::storage::Garbled;

/// An open segment. Its file stays readable after it is removed.
pub struct Segment {
    path: PathBuf,
    file: File,
    header: SegmentHeader,
    index: Index,
    is_footer_damaged: bool,
}

impl Segment {
    /// Reads the header and the footer. Walks over the frames if the footer is damaged: what follows a damaged frame is not
    /// found then.
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        let file = File::open(path).map_err(failed("open", path))?;
        let mut bytes = [0; header::BYTES];
        read_at(&file, &mut bytes, 0, path)?;
        let header = SegmentHeader::decode(&bytes).map_err(|unreadable| unreadable.of(path))?;
        let bytes = file.metadata().map_err(failed("open", path))?.len();
        let (index, is_footer_damaged) = match read_footer(&file, bytes, path)? {
            Ok(index) => (index, false),
            Err(_) => (walk(&file, &header, path)?, true),
        };
        let segment = Self { path: path.to_owned(), file, header, index, is_footer_damaged };
        if segment.index.entries.first().is_none_or(|entry| entry.first != segment.header.first) {
            return Err(segment.damaged(segment.header.first, "it does not begin as its header says"));
        }
        Ok(segment)
    }

    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    pub fn last(&self) -> Position {
        self.index.last
    }

    pub fn last_recorded_at(&self) -> Timestamp {
        self.index.last_recorded_at
    }

    /// The chain's value after the last record.
    pub fn after(&self) -> Hash {
        self.index.after
    }

    /// Whether its index was made by a walk over the frames.
    pub fn is_footer_damaged(&self) -> bool {
        self.is_footer_damaged
    }

    /// The bytes of the frame that holds a position, checked. `None` outside the segment.
    pub fn read(&self, position: Position) -> Result<Option<Vec<u8>>, SegmentError> {
        let found = self.index.find(position).and_then(|number| Some((number, self.index.range(number)?)));
        let Some((number, (start, end))) = found else { return Ok(None) };
        let first = self.index.entries[number].first;
        let length = usize::try_from(end - start).ok().filter(|length| *length <= super::FRAME_BYTES_MAX);
        let length = length.ok_or_else(|| self.damaged(first, "a frame is too large"))?;
        let mut bytes = vec![0; length];
        read_at(&self.file, &mut bytes, start, &self.path)?;
        let frame = Frame::decode(&bytes).map_err(|garbled| self.damaged(first, garbled.0))?;
        if frame.header.first != first || !(first..=frame.header.last()).contains(&position) {
            return Err(self.damaged(first, "a frame is not where it belongs"));
        }
        Ok(Some(bytes))
    }

    /// Reads the whole file from the disk and checks all of it: each frame, that they follow one another, the footer and the
    /// digest.
    pub fn verify(&self) -> Result<(), SegmentError> {
        fadvise(&self.file, 0, None, Advice::DontNeed)
            .map_err(io::Error::from)
            .map_err(failed("read back", &self.path))?;
        let mut digest = Sha256::new();
        let mut index = Index::empty(self.header.first, self.header.before, header::BYTES as u64);
        digest.update(self.header.encode());
        while index.last < self.index.last {
            let from = index.last + 1;
            let bytes = self.read(from)?.ok_or_else(|| self.damaged(from, "no frame holds it"))?;
            let frame = Frame::decode(&bytes).map_err(|garbled| self.damaged(from, garbled.0))?;
            index.push(&frame.header, bytes.len()).map_err(|garbled| self.damaged(from, garbled.0))?;
            digest.update(&bytes);
        }
        let footer = index.encode(|entries| digest.chain_update(entries).finalize().into());
        let mut stored = vec![0; footer.len()];
        read_at(&self.file, &mut stored, index.end, &self.path)?;
        let bytes = self.file.metadata().map_err(failed("read back", &self.path))?.len();
        if stored == footer && bytes == index.end + footer.len() as u64 {
            Ok(())
        } else {
            Err(self.damaged(self.header.first, "its footer is not the one of its frames"))
        }
    }

    fn damaged(&self, from: Position, reason: &'static str) -> SegmentError {
        SegmentError::Damaged { path: self.path.clone(), from, reason }
    }
}

/// A file that ends too soon is damaged.
fn read_at(file: &File, bytes: &mut [u8], offset: u64, path: &Path) -> Result<(), SegmentError> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            SegmentError::Damaged { path: path.to_owned(), from: 0, reason: "the file ends too soon" }
        }
        _ => failed("read", path)(error),
    })
}

fn read_footer(file: &File, bytes: u64, path: &Path) -> Result<Result<Index, Garbled>, SegmentError> {
    let too_short = Garbled("the file ends too soon");
    let Some(tail_at) = bytes.checked_sub(TAIL_BYTES as u64) else { return Ok(Err(too_short)) };
    let mut tail = [0; TAIL_BYTES];
    read_at(file, &mut tail, tail_at, path)?;
    let entries = match Index::entries_bytes(&tail) {
        Ok(entries) => entries,
        Err(garbled) => return Ok(Err(garbled)),
    };
    let Some(end) = tail_at.checked_sub(entries as u64).filter(|end| *end > header::BYTES as u64) else {
        return Ok(Err(too_short));
    };
    let mut footer = vec![0; entries + TAIL_BYTES];
    read_at(file, &mut footer, end, path)?;
    Ok(Index::decode(&footer, end))
}

/// The frames as far as they are whole and follow one another.
fn walk(file: &File, header: &SegmentHeader, path: &Path) -> Result<Index, SegmentError> {
    let mut index = Index::empty(header.first, header.before, header::BYTES as u64);
    while let Some(bytes) = frame_at(file, index.end, path)? {
        let Ok(frame) = Frame::decode(&bytes) else { break };
        if index.push(&frame.header, bytes.len()).is_err() {
            break;
        }
    }
    Ok(index)
}

/// The bytes that a frame at an offset claims; `None` if none begins there.
fn frame_at(file: &File, offset: u64, path: &Path) -> Result<Option<Vec<u8>>, SegmentError> {
    let mut start = [0; HEADER_BYTES];
    let bytes = match read_at(file, &mut start, offset, path) {
        Err(SegmentError::Damaged { .. }) => return Ok(None),
        read => read.map(|()| FrameStart::read(&start).map(|start| start.bytes()))?,
    };
    let Ok(bytes) = bytes else { return Ok(None) };
    let mut frame = vec![0; bytes];
    match read_at(file, &mut frame, offset, path) {
        Err(SegmentError::Damaged { .. }) => Ok(None),
        read => read.map(|()| Some(frame)),
    }
}
