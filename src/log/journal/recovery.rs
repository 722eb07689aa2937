//! Reads a journal after its process has ended, from its file and without sled, so that nothing is changed. Knows
//! nothing of the meaning of a record: checksums, positions, times and the chain before each frame decide.
//!
//! sled writes to a database that it opens, panics on some damage, and silently shortens a damaged database. Each value
//! is in its file as it was given, so its own checksum finds it. A value that is not found that way, sled could not
//! return either.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::files::JournalFiles;
use super::search::Search;
use super::value::{JournalFrame, ValuePart, join};
use crate::event::{Hash, Position, Timestamp};
use crate::segment::{Frame, FrameHeader};

/// Reason why the journal could not be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct RecoverError {
    pub operation: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecoverError {
    move |source| RecoverError { operation, path: path.to_owned(), source }
}

/// Frames that join up.
#[derive(Debug, Clone)]
pub struct FoundFrames {
    pub frames: Vec<JournalFrame>,
    /// Last position of the last frame. The start of the walk if there is no frame.
    pub reached: Position,
    /// Chain value at that position, as the last frame says. `None` if there is no frame and the value was not known
    /// before.
    pub chain: Option<Hash>,
    /// Time of the last record. `None` if there is no frame.
    pub recorded_at: Option<Timestamp>,
}

/// Everything that the file of a journal holds.
pub struct Recovered {
    /// Whole frames by their first position. A position has several if frames were found that differ.
    frames: BTreeMap<Position, Vec<(FrameHeader, JournalFrame)>>,
    search: Option<Search>,
}

/// Reads a journal. A journal that was never finished is blank.
pub fn recover(log_directory: &Path, sequence: u64) -> Result<Recovered, RecoverError> {
    let files = JournalFiles::of(log_directory, sequence);
    files.forget_cached().map_err(failed("read", files.path()))?;
    let db = files.db();
    if !db.try_exists().map_err(failed("read", &db))? {
        return Ok(Recovered { frames: BTreeMap::new(), search: None });
    }
    let read = || {
        let search = Search::of(&db)?;
        let mut frames = BTreeMap::new();
        for first in search.firsts() {
            let found = assemble(first, &search)?;
            if !found.is_empty() {
                frames.insert(first, found);
            }
        }
        io::Result::Ok(Recovered { frames, search: Some(search) })
    };
    read().map_err(failed("search", &db))
}

impl Recovered {
    /// Returns whether the file holds no value at all.
    pub fn is_blank(&self) -> bool {
        self.search.as_ref().is_none_or(Search::is_empty)
    }

    /// Returns the first position of the first whole frame after a position.
    pub fn next_after(&self, position: Position) -> Option<Position> {
        self.frames.range(position.checked_add(1)?..).next().map(|(first, _)| *first)
    }

    /// Returns the lowest first position of all whole frames.
    pub fn first(&self) -> Option<Position> {
        self.frames.keys().next().copied()
    }

    /// Returns whether every value belongs to a whole frame, and the frames join up from the first to the last.
    pub fn is_complete(&self) -> bool {
        let Some(first) = self.first() else { return false };
        let has_parts = self.search.as_ref().is_some_and(|search| search.firsts().len() != self.frames.len());
        !has_parts && self.last() == Some(self.follow(first - 1, None).reached)
    }

    /// Returns the last position of all whole frames.
    pub fn last(&self) -> Option<Position> {
        self.frames.values().flatten().map(|(header, _)| header.last()).max()
    }

    /// Returns the bytes of all values that begin after a position, whether their frames are whole or not.
    pub fn bytes_after(&self, position: Position) -> u64 {
        self.search.as_ref().map_or(0, |search| search.bytes_after(position))
    }

    /// Returns the frames that follow a position. `chain` is the chain value there; `None` accepts any.
    pub fn follow(&self, after: Position, chain: Option<Hash>) -> FoundFrames {
        let mut found = FoundFrames { frames: Vec::new(), reached: after, chain, recorded_at: None };
        while let Some((header, frame)) = self.frame_after(&found) {
            found.frames.push(frame.clone());
            found.reached = header.last();
            found.chain = Some(header.after);
            found.recorded_at = Some(header.last_recorded_at);
        }
        found
    }

    /// Returns the one frame that follows. `None` if there is none, or if several fit.
    fn frame_after(&self, found: &FoundFrames) -> Option<&(FrameHeader, JournalFrame)> {
        let candidates = self.frames.get(&found.reached.checked_add(1)?)?;
        let mut fitting = candidates.iter().filter(|(header, _)| {
            found.chain.is_none_or(|chain| chain == header.before)
                && found.recorded_at.is_none_or(|time| time <= header.first_recorded_at)
        });
        let one = fitting.next()?;
        if fitting.next().is_none() { Some(one) } else { None }
    }
}

/// Returns the frames that begin at `first`: one for each different value of its first chunk that can be completed.
fn assemble(first: Position, search: &Search) -> io::Result<Vec<(FrameHeader, JournalFrame)>> {
    let mut frames: Vec<(FrameHeader, JournalFrame)> = Vec::new();
    for start in search.values(first, 0)? {
        let Some(part) = part_of(&start, first, 0) else { continue };
        let Some(joined) = join_chunks(part, search)? else { continue };
        let Ok(frame) = join(part.format, &joined) else { continue };
        let Ok(header) = Frame::decode(&frame.frame).map(|decoded| decoded.header) else { continue };
        if header.first == first && !frames.iter().any(|(_, other)| *other == frame) {
            frames.push((header, frame));
        }
    }
    Ok(frames)
}

/// Joins the bytes of all chunks. `None` if a chunk is missing, or has two different values.
fn join_chunks(start: ValuePart<'_>, search: &Search) -> io::Result<Option<Vec<u8>>> {
    let mut joined = start.bytes.to_vec();
    for chunk in 1..start.chunks {
        let found = search.values(start.first, chunk)?;
        let [value] = &found[..] else { return Ok(None) };
        let is_of_start = |part: &ValuePart<'_>| (part.chunks, part.format) == (start.chunks, start.format);
        let Some(part) = part_of(value, start.first, chunk).filter(is_of_start) else {
            return Ok(None);
        };
        joined.extend_from_slice(part.bytes);
    }
    Ok(Some(joined))
}

fn part_of(value: &[u8], first: Position, chunk: u16) -> Option<ValuePart<'_>> {
    ValuePart::decode(value).ok().filter(|part| (part.first, part.chunk) == (first, chunk))
}
