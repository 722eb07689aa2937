//! Opens the log of a stopped daemon, or a copy of it, for reading, and reports the content and the problems of the
//! data directory. Must not write, so it works on a read-only or a full file system.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::dedup::KeyIndex;
use super::files::layout::{self, DataFiles, FoundDirectory};
use super::files::secret::LogSecret;
use super::frame_store::Sealed;
use super::open::{Examined, Notes, OpenError, gather};
use super::reader::Reader;
use crate::event::{Identity, Point, Position};
use crate::storage::StoreError;
use crate::telemetry::with_causes;

/// Content of a data directory that has a log.
pub struct Inspection {
    pub identity: Identity,
    /// Epochs, each with its first position.
    pub epochs: Vec<(u128, Position)>,
    pub segments: Vec<InspectedSegment>,
    pub journals: Vec<InspectedJournal>,
    pub head: Point,
    /// Position that the witness names. `None` if the witness is lost.
    pub witnessed: Option<Position>,
    /// Problems, in words. Empty if there are none.
    pub problems: Vec<String>,
}

/// One sealed range.
pub struct InspectedSegment {
    pub first: Position,
    pub last: Position,
    /// Bytes of its header and its frames. 0 if it cannot be opened.
    pub bytes: u64,
    /// Number of times that its records were merged.
    pub merges: u8,
    /// Description of the damage. `None` if the segment is whole.
    pub damage: Option<String>,
}

/// One journal that is not sealed.
pub struct InspectedJournal {
    pub sequence: u64,
    /// First position. 0 if the journal holds nothing.
    pub first: Position,
    /// Last position. 0 if the journal holds nothing.
    pub last: Position,
    /// Bytes of its frames.
    pub bytes: u64,
}

/// A log that is open for reading.
pub struct ReadOnlyLog {
    /// Reader that finds no event by its key.
    pub reader: Reader,
    pub inspection: Inspection,
}

/// Opens the log in `directory`. Fails only if nothing can be read as a log. A disagreement between files is a problem
/// of the inspection.
pub fn open_read_only(directory: &Path) -> Result<ReadOnlyLog, OpenError> {
    let files = DataFiles::at(directory).map_err(|error| StoreError::new("find the data directory", error))?;
    match layout::look(directory)? {
        FoundDirectory::Initialised(_) | FoundDirectory::CleatLost => {}
        found => return Err(OpenError::NoLog { found: found.to_string() }),
    }
    let _lock = files.lock_for_reading()?;
    let mut examined = gather(&files)?;
    let refusal = examined.check(None, &[]).err();
    let inspection = inspect(&examined, refusal.as_ref());
    let (_, head) = watch::channel(examined.head());
    // Only keys need the secret, and no key is known here.
    let secret = examined.secret.take().unwrap_or(LogSecret { generation: 0, key: Zeroizing::default() });
    let index = Arc::new(KeyIndex::empty());
    let reader = Reader::new(examined.store.clone(), index, Arc::new(secret), head, examined.identity());
    Ok(ReadOnlyLog { reader, inspection })
}

fn inspect(examined: &Examined, refusal: Option<&OpenError>) -> Inspection {
    let Notes { mended, losses } = &examined.notes;
    let mut problems: Vec<String> = losses.iter().map(ToString::to_string).collect();
    problems.extend_from_slice(mended);
    problems.extend(refusal.map(|refusal| with_causes(refusal)));
    let segments: Vec<InspectedSegment> = examined.sealed.sealed.iter().map(segment).collect();
    // A range without a segment is among the losses.
    problems.extend(segments.iter().filter(|segment| segment.bytes > 0).filter_map(|segment| segment.damage.clone()));
    Inspection {
        identity: examined.identity(),
        epochs: examined.named.epochs.all().iter().map(|epoch| (epoch.id, epoch.from)).collect(),
        segments,
        journals: journals(examined),
        head: examined.head(),
        witnessed: examined.witness.map(|witness| witness.head.position),
        problems,
    }
}

/// Reads the whole segment.
fn segment(sealed: &Sealed) -> InspectedSegment {
    let first = sealed.first();
    let last = sealed.last();
    match sealed {
        Sealed::Damaged { reason, .. } => {
            InspectedSegment { first, last, bytes: 0, merges: 0, damage: Some((*reason).to_owned()) }
        }
        Sealed::Segment(segment) => InspectedSegment {
            first,
            last,
            bytes: segment.bytes(),
            merges: segment.header().merges,
            damage: segment.verify().err().map(|error| with_causes(&error)),
        },
    }
}

fn journals(examined: &Examined) -> Vec<InspectedJournal> {
    let held = examined.unsealed.frames().into_iter().zip(&examined.unsealed.journals).map(|(journal, (_, found))| {
        InspectedJournal {
            sequence: journal.sequence,
            first: journal.frames.first().map_or(0, |(first, _)| *first),
            last: found.reached,
            bytes: journal.frames.iter().map(|(_, frame)| frame.len() as u64).sum(),
        }
    });
    let removable = examined.unsealed.removable.iter();
    held.chain(removable.map(|sequence| InspectedJournal { sequence: *sequence, first: 0, last: 0, bytes: 0 }))
        .collect()
}
