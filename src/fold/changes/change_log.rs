//! Owns the change log: the changes of each position, in segment files of its own, derived from the log. Knows no state
//! and no byte layout: `changes/frame.rs` has that of a frame, `record.rs` that of a record.
//!
//! ```text
//! <data>/views/<n>/changes/<first>-<last>.seg     full segments
//!                          <first>.open           the growing segment
//! ```
//!
//! A frame can be read as soon as it is appended. Changes after the newest frame are in the ring of newest changes.
//! Changes lost in a crash are derived again from the log.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::frame::{self, ChangeFrame, Disposition};
use super::record::Describe;
use super::ring::ChangeRange;
use crate::event::{Cursor, Hash, Identity, Position};
use crate::fold::entities::{Connection, PositionChanges};
use crate::segment::{GrowingSegment, ReadError, Segment, SegmentError, SegmentHeader, SegmentName};

/// The change log. One thread appends to it through a [`Writer`](super::writer::Writer); any thread reads it. Its open
/// files stay readable after they are removed.
pub struct ChangeLog {
    directory: PathBuf,
    segments: RwLock<Segments>,
    descriptions: Mutex<Descriptions>,
    /// Whether a read has failed.
    has_failed: watch::Sender<bool>,
}

struct Segments {
    /// Full segments, adjacent, from position 1 on.
    full: Vec<Arc<Segment>>,
    /// Segment that continues after the full ones.
    growing: Arc<GrowingSegment>,
}

/// Maximum memory that the cached descriptions take.
const DESCRIPTIONS_BYTES: usize = 8 * 1024 * 1024;

/// Cache of connections as their describing events left them. Later records refer to these, and a reader that catches
/// up needs the same ones repeatedly.
#[derive(Default)]
struct Descriptions {
    /// Keyed by the position of the describing event.
    connections: HashMap<Position, Arc<Connection>>,
    /// Positions in the order in which they were read.
    order: VecDeque<Position>,
    bytes: usize,
}

impl ChangeLog {
    /// Opens the existing change log, or begins an empty one. Full segments must be whole; the growing one is cut after
    /// its last whole frame. `genesis` is the chain's value before position 1. Data that the system refuses to read is
    /// an error up to position `needed`; after it, it is cut off and derived again.
    pub fn open(directory: &Path, identity: Identity, genesis: Hash, needed: Position) -> Result<Self, SegmentError> {
        let failed = |operation| SegmentError::io(operation, directory);
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("create"))?;
        let paths: io::Result<Vec<_>> =
            fs::read_dir(directory).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
        let paths = paths.map_err(failed("list"))?;
        let full = open_full(&paths, identity, genesis)?;
        let next = SegmentHeader {
            identity,
            first: full.last().map_or(1, |last| last.last() + 1),
            before: full.last().and_then(|last| last.after()).unwrap_or(genesis),
            source: 0,
            merges: 0,
        };
        let growing = Arc::new(open_growing(directory, &paths, next, needed)?);
        let segments = RwLock::new(Segments { full, growing });
        Ok(Self {
            directory: directory.to_owned(),
            segments,
            descriptions: Mutex::default(),
            has_failed: watch::Sender::new(false),
        })
    }

    /// Returns the last position and the chain's value there.
    pub fn end(&self) -> (Position, Hash) {
        let growing = &self.segments.read().growing;
        (growing.last(), growing.after())
    }

    /// Returns the total length of the files, without the footers.
    pub fn bytes(&self) -> u64 {
        let segments = self.segments.read();
        segments.full.iter().map(|segment| segment.bytes()).sum::<u64>() + segments.growing.bytes()
    }

    /// Reports a failed read, so that the projector has the views made again. Only the first is logged: clients try the
    /// same read again. `dispositions` reports for itself; for the other reads, [`ChangeLookup`](super::ChangeLookup)
    /// does.
    pub fn report_failure(&self, error: &ReadError) {
        self.has_failed.send_if_modified(|has_failed| {
            if !*has_failed {
                tracing::error!(%error, directory = %self.directory.display(), "the views' files cannot be read");
            }
            !std::mem::replace(has_failed, true)
        });
    }

    /// Returns once a read has failed.
    pub async fn failed(&self) {
        if self.has_failed.subscribe().wait_for(|has_failed| *has_failed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns the changes of a position. `None` if there are none. `describe` completes a connection that the record
    /// only refers to.
    pub fn at(&self, position: Position, describe: &Describe<'_>) -> Result<Option<PositionChanges>, ReadError> {
        let bytes = self.read(position)?;
        ChangeFrame::decode(&bytes, position)?.changes_at(position, describe)
    }

    /// Completes a connection from the record of another position that describes it. Returns false if that record does
    /// not describe it.
    pub fn describe(&self, connection: &mut Connection) -> Result<bool, ReadError> {
        let position = connection.described_at.0;
        let known = self.descriptions.lock().connections.get(&position).cloned();
        if let Some(known) = known
            && known.id == connection.id
        {
            connection.describe_as(&known);
            return Ok(true);
        }
        let changes = self.at(position, &|_| Ok(()))?;
        let Some(found) = changes.as_ref().and_then(|changes| changes.description_of(connection)) else {
            return Ok(false);
        };
        connection.describe_as(found);
        self.descriptions.lock().keep(found.clone());
        Ok(true)
    }

    /// Returns the changes after a position and up to another, in order: at most `count_max`, and only as far as one
    /// frame has them.
    pub fn between(
        &self,
        after: Position,
        to: Cursor,
        count_max: usize,
        describe: &Describe<'_>,
    ) -> Result<ChangeRange, ReadError> {
        let bytes = self.read(after + 1)?;
        let frame = ChangeFrame::decode(&bytes, after + 1)?;
        let mut changes = Vec::new();
        // A description in the same frame needs no other read.
        let describe = |connection: &mut Connection| {
            let position = connection.described_at.0;
            if !frame.holds(position) {
                return describe(connection);
            }
            let found = frame.changes_at(position, &|_| Ok(()))?;
            let Some(found) = found.as_ref().and_then(|changes| changes.description_of(connection)) else {
                return describe(connection);
            };
            connection.describe_as(found);
            Ok(())
        };
        for position in after + 1..=to.position.min(frame.last()) {
            let found = frame.changes_at(position, &describe)?;
            changes.extend(found.map(Arc::new));
            if changes.len() == count_max {
                let through = changes.last().map_or(to, |last| last.cursor());
                return Ok(ChangeRange { changes, through });
            }
        }
        let ends_first = frame.last() < to.position;
        let through = if ends_first { Cursor::new(frame.last(), &frame.after()) } else { to };
        Ok(ChangeRange { changes, through })
    }

    /// Returns how the fold treated the positions from `from` on, as far as one frame has them. Empty if none is
    /// written yet.
    pub fn dispositions(&self, from: Position) -> Result<Vec<Disposition>, ReadError> {
        if from > self.end().0 {
            return Ok(Vec::new());
        }
        let found = self.read(from).and_then(|bytes| frame::dispositions(&bytes, from));
        found.inspect_err(|error| self.report_failure(error))
    }

    /// Returns the bytes of the frame that holds a position.
    fn read(&self, position: Position) -> Result<Vec<u8>, ReadError> {
        let segments = self.segments.read();
        let read = if position >= segments.growing.header().first {
            let growing = segments.growing.clone();
            drop(segments);
            growing.read(position)
        } else {
            let number = segments.full.partition_point(|segment| segment.last() < position);
            let segment = segments.full.get(number).cloned();
            drop(segments);
            segment.map_or(Ok(None), |segment| segment.read(position))
        };
        let missing = ReadError::Damaged { from: position, reason: "no change segment holds the position" };
        read.map_err(|error| error.at(position))?.ok_or(missing)
    }

    pub fn growing(&self) -> Arc<GrowingSegment> {
        self.segments.read().growing.clone()
    }

    /// Turns the growing segment into a full one, and begins the next.
    pub fn begin_next(&self) -> Result<(), SegmentError> {
        let growing = self.growing();
        let full = growing.finish()?;
        let header = SegmentHeader { first: growing.last() + 1, before: growing.after(), ..*growing.header() };
        let next = GrowingSegment::create(&self.directory, header)?;
        let mut segments = self.segments.write();
        segments.full.push(Arc::new(full));
        segments.growing = Arc::new(next);
        Ok(())
    }
}

impl Descriptions {
    fn keep(&mut self, connection: Arc<Connection>) {
        let position = connection.described_at.0;
        self.bytes += connection.weight();
        if let Some(replaced) = self.connections.insert(position, connection) {
            self.bytes -= replaced.weight();
        } else {
            self.order.push_back(position);
        }
        while self.bytes > DESCRIPTIONS_BYTES
            && let Some(dropped) = self.order.pop_front().and_then(|first| self.connections.remove(&first))
        {
            self.bytes -= dropped.weight();
        }
    }
}

/// Opens the full segments, which must be whole and adjacent.
fn open_full(paths: &[PathBuf], identity: Identity, genesis: Hash) -> Result<Vec<Arc<Segment>>, SegmentError> {
    let mut named: Vec<_> = paths.iter().filter_map(|path| Some((SegmentName::of(path)?.first, path))).collect();
    named.sort_unstable();
    let mut full: Vec<Arc<Segment>> = Vec::with_capacity(named.len());
    for (first, path) in named {
        let segment = Segment::open(path, identity)?;
        let (last, after) = full.last().map_or((0, Some(genesis)), |segment| (segment.last(), segment.after()));
        if first != last + 1 || Some(segment.header().before) != after || segment.after().is_none() {
            let reason = "it does not continue the segment before it, or is not whole";
            return Err(SegmentError::Damaged { path: path.clone(), from: first, reason });
        }
        full.push(Arc::new(segment));
    }
    Ok(full)
}

/// Opens the segment that continues after the full ones, or creates a new one in its place. Removes every other growing
/// segment.
fn open_growing(
    directory: &Path,
    paths: &[PathBuf],
    next: SegmentHeader,
    needed: Position,
) -> Result<GrowingSegment, SegmentError> {
    let path = GrowingSegment::path(directory, next.first);
    for stray in paths.iter().filter(|stray| GrowingSegment::is_named(stray) && **stray != path) {
        tracing::warn!(
            path = %stray.display(),
            "removing a change segment that follows no other; its changes are recorded again"
        );
        fs::remove_file(stray).map_err(SegmentError::io("remove", stray))?;
    }
    let after = next.first - 1;
    if !paths.contains(&path) {
        return GrowingSegment::create(directory, next);
    }
    match GrowingSegment::open(&path, next.identity, needed) {
        Ok(growing) if *growing.header() == next => {
            if growing.cut_bytes() > 0 {
                let after = growing.last();
                let bytes = growing.cut_bytes();
                tracing::info!(after, bytes, "cut the torn end off the change log; its changes are recorded again");
            }
            Ok(growing)
        }
        // The header can be lost like the rest until the first sync.
        Ok(_) | Err(SegmentError::Damaged { .. }) => {
            tracing::info!(after, "the end of the change log is lost; its changes are recorded again");
            GrowingSegment::create(directory, next)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ApiMode;
    use crate::fold::entities::{EventRef, Lineage, Realm, RelativePosition};

    #[test]
    fn descriptions_stay_within_their_bytes_and_the_newest_are_kept() {
        let mut kept = Descriptions::default();
        let realm = Realm { tenant: "t".into(), mode: ApiMode::Live };
        let id: Arc<str> = "x".repeat(64 * 1024).into();
        for position in (1..=500).chain(490..=495) {
            let event = EventRef { position, recorded_at: crate::event::Timestamp::default() };
            let mut connection = Connection::new(&realm, &id, Lineage { version: 1, first: event, last: event });
            connection.described_at = RelativePosition(position);
            kept.keep(Arc::new(connection));
            assert!(kept.bytes <= DESCRIPTIONS_BYTES && kept.order.len() == kept.connections.len());
        }
        let weights = kept.connections.values().map(|connection| connection.weight());
        assert_eq!(weights.sum::<usize>(), kept.bytes);
        assert!((400..=500).all(|position| kept.connections.contains_key(&position)), "{:?}", kept.order);
        assert!(!kept.connections.contains_key(&300));
    }
}
