//! The sealed part of a log, as its directory has it: which files hold which range, and which ranges are missing or
//! damaged. Must not write.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::error::OpenError;
use super::notes::Notes;
use crate::event::{Hash, Identity, Position, Timestamp};
use crate::log::files::epochs::Epochs;
use crate::log::format;
use crate::log::frame_store::Sealed;
use crate::log::journal::Recovered;
use crate::segment::{Frame, Segment, SegmentError, SegmentName};
use crate::storage::StoreError;

/// Segments of a directory.
pub(in crate::log) struct SealedLog {
    directory: PathBuf,
    /// Sealed ranges, ascending and adjacent, from position 1 on.
    pub sealed: Vec<Sealed>,
    pub end: SealedEnd,
    /// State before the first segment.
    begin: SealedEnd,
    /// Files whose records another, verified segment holds.
    pub covered: Vec<PathBuf>,
    /// Damaged files whose records other files hold.
    pub unusable: Vec<PathBuf>,
    /// Reason why the log cannot be opened. `None` if it can.
    pub refusal: Option<OpenError>,
}

/// Name of a log: its id and its epochs.
#[derive(Clone, Copy)]
pub(in crate::log) struct LogName<'a> {
    pub log_id: u128,
    pub epochs: &'a Epochs,
}

impl LogName<'_> {
    /// Returns the identity in the epoch that a position belongs to.
    fn identity_at(&self, position: Position) -> Identity {
        let epoch = self.epochs.of(position).unwrap_or_else(|| self.epochs.last());
        Identity { log_id: self.log_id, epoch: epoch.id }
    }
}

/// End of the sealed part.
#[derive(Clone, Copy)]
pub(in crate::log) struct SealedEnd {
    pub position: Position,
    /// Chain value at `position`. `None` if damage hides it.
    pub chain: Option<Hash>,
    pub recorded_at: Timestamp,
}

/// Lists the names of all segments. A segment that covers others comes before them.
pub(in crate::log) fn list(directory: &Path) -> Result<Vec<SegmentName>, OpenError> {
    let list = || {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = SegmentName::of(&entry?.path());
            names.extend(name.filter(|name| (1..=name.last).contains(&name.first) && name.last < Position::MAX));
        }
        std::io::Result::Ok(names)
    };
    let mut names = list().map_err(|error| StoreError::new("list the segments", error))?;
    names.sort_by_key(|name| (name.first, std::cmp::Reverse(name.last)));
    Ok(names)
}

/// Opens all segments. Damage costs only its own range. A foreign or newer segment is refused.
pub(in crate::log) fn open(directory: &Path, log_name: LogName<'_>, notes: &mut Notes) -> Result<SealedLog, OpenError> {
    let genesis = format::genesis(log_name.log_id);
    let begin = SealedEnd { position: 0, chain: Some(genesis), recorded_at: Timestamp::default() };
    let mut log = SealedLog {
        directory: directory.to_owned(),
        sealed: Vec::new(),
        begin,
        end: begin,
        covered: Vec::new(),
        unusable: Vec::new(),
        refusal: None,
    };
    let names = list(directory)?;
    let mut index = 0;
    while let Some(name) = names.get(index) {
        let within = names[index + 1..].iter().take_while(|other| other.last <= name.last).count();
        let parts = &names[index + 1..=index + within];
        index += 1;
        if parts.is_empty() || log.accept_covering(*name, parts, log_name, notes)? {
            log.push(*name, open_one(directory, *name, log_name)?, notes);
            index += within;
        }
    }
    Ok(log)
}

/// Opens one segment.
fn open_one(directory: &Path, name: SegmentName, log_name: LogName<'_>) -> Result<Sealed, OpenError> {
    let path = directory.join(name.to_string());
    let damaged = |reason| Sealed::Damaged { range: name.first..=name.last, reason };
    match Segment::open(&path, log_name.identity_at(name.first)) {
        Ok(segment) => Ok(Sealed::Segment(Arc::new(segment))),
        Err(SegmentError::Damaged { reason, .. }) => Ok(damaged(reason)),
        Err(error) if is_unreadable(&error) => Ok(damaged("the disk cannot read it")),
        Err(SegmentError::Foreign { path }) => {
            Err(OpenError::Foreign { what: format!("{}, or the file CLEAT or EPOCHS,", path.display()) })
        }
        Err(SegmentError::Newer { path, format }) => {
            Err(OpenError::Newer { what: path.display().to_string(), format: format.into() })
        }
        Err(error) => Err(error.into()),
    }
}

fn is_unreadable(error: &SegmentError) -> bool {
    matches!(error, SegmentError::Io { source, .. } if source.raw_os_error() == Some(Errno::IO.raw_os_error()))
}

/// Returns the chain value at a position that a verified segment holds.
fn chain_at(segment: &Segment, position: Position) -> Result<Option<Hash>, SegmentError> {
    let Some(bytes) = segment.read(position)? else { return Ok(None) };
    let Ok(frame) = Frame::decode(&bytes) else { return Ok(None) };
    let records = format::records(&frame).unwrap_or_default();
    Ok(records.iter().find(|record| record.position == position).map(|record| record.chain))
}

/// Returns whether all of a segment can be read and is right. A system error, other than a disk that cannot read, says
/// nothing about that and is returned.
fn is_whole(segment: &Segment) -> Result<bool, SegmentError> {
    match segment.verify() {
        Ok(()) => Ok(true),
        Err(error @ SegmentError::Io { .. }) if !is_unreadable(&error) => Err(error),
        Err(_) => Ok(false),
    }
}

impl SealedLog {
    pub fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.sealed.iter().filter_map(as_segment)
    }

    /// Returns whether verified segments hold everything that a journal holds, on the same chain.
    pub fn holds(&self, journal: &Recovered) -> Result<bool, SegmentError> {
        let Some(first) = journal.first() else { return Ok(false) };
        if !journal.is_complete() {
            return Ok(false);
        }
        let all = journal.follow(first - 1, None);
        let holding =
            self.segments().filter(|segment| segment.last() >= first && segment.header().first <= all.reached);
        let mut next = first;
        for segment in holding {
            if segment.header().first > next || !is_whole(segment)? {
                return Ok(false);
            }
            next = segment.last() + 1;
            if next > all.reached {
                return Ok(chain_at(segment, all.reached)? == all.chain);
            }
        }
        Ok(false)
    }

    /// Hands the damaged ranges at the end back to the journal, if it still has all of them. Returns whether there was
    /// any.
    pub fn hand_back(&mut self, journal: &Recovered, notes: &mut Notes) -> bool {
        let mut has_any = false;
        while let Some(last) = self.sealed.last() {
            let first = last.first();
            let is_damaged = as_segment(last).is_none_or(|segment| segment.verify().is_err());
            if !is_damaged || journal.follow(first - 1, None).reached < last.last() {
                break;
            }
            let name = SegmentName { first, last: last.last() };
            notes.note(format!(
                "{name} is damaged: the journal that it was made of is still there, and is sealed again"
            ));
            let path = self.directory.join(name.to_string());
            if path.exists() {
                self.unusable.push(path);
            }
            notes.losses.retain(|loss| !(first..=name.last).contains(loss.range.start()));
            self.sealed.pop();
            self.end = self.sealed.last().map_or(self.begin, end_of);
            has_any = true;
        }
        has_any
    }

    /// Accepts a segment in place of the parts that it covers, if it is whole, or if not all parts are there. Returns
    /// whether it is accepted.
    fn accept_covering(
        &mut self,
        name: SegmentName,
        parts: &[SegmentName],
        log_name: LogName<'_>,
        notes: &mut Notes,
    ) -> Result<bool, OpenError> {
        let path = self.directory.join(name.to_string());
        let fill = |next: Position, part: &SegmentName| if part.first == next { part.last + 1 } else { 0 };
        let are_complete = parts.iter().fold(name.first, fill) == name.last + 1;
        if parts.windows(2).any(|pair| pair[1].first <= pair[0].last) {
            self.refusal.get_or_insert(overlap(parts[0].first, name.last));
        }
        let is_whole = match open_one(&self.directory, name, log_name)? {
            Sealed::Segment(segment) => self.is_continued_by(&segment) && is_whole(&segment)?,
            Sealed::Damaged { .. } => false,
        };
        if is_whole {
            // A part of another log is here by mistake. It is refused, not removed.
            parts.iter().try_for_each(|part| open_one(&self.directory, *part, log_name).map(drop))?;
            self.covered.extend(parts.iter().map(|part| self.directory.join(part.to_string())));
            return Ok(true);
        }
        if are_complete {
            notes.note(format!("{name} is damaged: the segments that it was merged from are used"));
            self.unusable.push(path);
        }
        // Otherwise more of it can be read than is left of its parts.
        Ok(!are_complete)
    }

    /// Returns whether the chain of a segment continues that of the segment before it, as far as that is known.
    fn is_continued_by(&self, segment: &Segment) -> bool {
        self.end.chain.is_none_or(|chain| chain == segment.header().before)
    }

    fn push(&mut self, name: SegmentName, sealed: Sealed, notes: &mut Notes) {
        if name.first <= self.end.position {
            self.refusal.get_or_insert(overlap(name.first, self.end.position.min(name.last)));
            return;
        }
        if name.first > self.end.position + 1 {
            self.push_damaged(self.end.position + 1, name.first - 1, "no segment and no journal holds them", notes);
        }
        match sealed {
            Sealed::Segment(segment) if self.is_continued_by(&segment) => {
                if segment.after().is_none() {
                    notes.lose(segment.readable_through() + 1..=name.last, "its segment is damaged there");
                } else if segment.is_footer_damaged() {
                    notes.note(format!("the footer of {name} is damaged: the frames are found without it"));
                }
                self.sealed.push(Sealed::Segment(segment));
            }
            Sealed::Segment(_) => {
                let reason = "its chain does not continue that of the segment before it";
                self.push_damaged(name.first, name.last, reason, notes);
            }
            Sealed::Damaged { reason, .. } => self.push_damaged(name.first, name.last, reason, notes),
        }
        self.end = self.sealed.last().map_or(self.begin, end_of);
    }

    fn push_damaged(&mut self, first: Position, last: Position, reason: &'static str, notes: &mut Notes) {
        notes.lose(first..=last, reason);
        self.sealed.push(Sealed::Damaged { range: first..=last, reason });
        self.end = SealedEnd { position: last, chain: None, ..self.end };
    }
}

fn as_segment(sealed: &Sealed) -> Option<&Arc<Segment>> {
    match sealed {
        Sealed::Segment(segment) => Some(segment),
        Sealed::Damaged { .. } => None,
    }
}

fn end_of(sealed: &Sealed) -> SealedEnd {
    match sealed {
        Sealed::Segment(segment) => {
            SealedEnd { position: segment.last(), chain: segment.after(), recorded_at: segment.last_recorded_at() }
        }
        Sealed::Damaged { range, .. } => {
            SealedEnd { position: *range.end(), chain: None, recorded_at: Timestamp::default() }
        }
    }
}

fn overlap(first: Position, last: Position) -> OpenError {
    let reason = "two segments hold it, and neither covers the other exactly".to_owned();
    OpenError::Damaged { range: first..=last, reason }
}
