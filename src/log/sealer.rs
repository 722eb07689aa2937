//! Seals closed journals into segments, merges small segments, and opens the next journal in advance, on a thread of
//! its own. Must not know the meaning of a record.
//!
//! A journal is removed only when its segment is durable, was read back and found right. A failed step is logged and
//! tried again; it never ends the process. Records are copied as they were stored, never compressed again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::format::{self, FrameBuilder, StoredRecord};
use super::frame_store::{FrameStore, JournalFrames, Sealed};
use super::journal::{self, JournalWriter};
use super::journal_rotation::{self, CreateJournal, JournalLimits, JournalRotation, NotAccepting, SealerMessage};
use super::write::Poison;
use crate::event::Identity;
use crate::segment::{Frame, Segment, SegmentError, SegmentHeader, SegmentName, SegmentWriter};
use crate::storage::{AtOnce, DecodeError, Pace, Pacer, free_space};
use crate::telemetry::with_causes;
use crate::worker::Worker;

/// Bounds of a sealed frame.
const FRAME_RECORDS_MAX: usize = 256;
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Size below which a segment is small.
const SMALL_BYTES: u64 = 8 * 1024 * 1024;
/// Maximum number of small segments before any are merged.
const SMALL_MAX: usize = 64;
/// Maximum size of a merged segment, not counting the last segment that a merge adds.
const MERGED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Maximum number of merges of a record.
const MERGES_MAX: u8 = 2;
/// Factor by which merging leaves more of the disk free than appends do.
const MERGE_RESERVE_FACTOR: u64 = 2;
/// Time until a failed step is tried again, and until free space is checked again.
const WAKE_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error("a frame in memory cannot be read")]
    Frame(#[from] DecodeError),
    #[error("cannot sync the directory of the log")]
    Sync(#[source] std::io::Error),
    #[error("{} exists and does not hold the journal's frames", .0.display())]
    Occupied(PathBuf),
}

/// Inputs of the sealer.
pub(super) struct SealerOptions {
    pub store: Arc<FrameStore>,
    /// `<data>/log`.
    pub directory: PathBuf,
    pub identity: Identity,
    pub limits: JournalLimits,
    pub poison: Poison,
    pub create_journal: CreateJournal,
    /// Sequence of the next journal.
    pub next_sequence: u64,
    /// Journals that hold more than could be read.
    pub damaged: Vec<u64>,
}

struct Sealer {
    options: SealerOptions,
    link: WriterLink,
    /// First sequence of this process.
    first_sequence: u64,
    /// Whether the failure of the last step was logged.
    is_failing: bool,
    /// Whether a journal was sealed since the last merge.
    is_merge_due: bool,
}

/// Starts the sealer's thread, which ends when the journals are dropped.
pub(super) fn spawn(options: SealerOptions) -> std::io::Result<(JournalRotation, Worker)> {
    let (spares, spare) = sync_channel(1);
    let (sender, messages) = sync_channel(4);
    let journals =
        JournalRotation::new(options.store.clone(), options.directory.clone(), options.limits, spare, sender);
    let link = WriterLink {
        messages,
        spares,
        store: options.store.clone(),
        directory: options.directory.clone(),
        create_journal: options.create_journal,
        next_sequence: options.next_sequence,
        is_spare_needed: true,
        offered: None,
        closed: Vec::new(),
        is_failing: false,
        has_ended: false,
        pacer: Pacer::new(),
    };
    let first_sequence = options.next_sequence;
    let sealer = Sealer { options, link, first_sequence, is_failing: false, is_merge_due: false };
    let thread = Worker::spawn("cleat-sealer", move || sealer.run())?;
    Ok((journals, thread))
}

impl Sealer {
    fn run(mut self) {
        while !self.link.has_ended {
            if self.link.is_spare_needed {
                self.link.offer_spare();
            }
            self.seal();
            self.report();
            self.link.serve(WAKE_EVERY);
        }
        self.link.remove_spare();
    }

    /// Reports whether the writer can go on. The writer itself looks only when a webhook comes, and none may come while
    /// this reports that it cannot.
    fn report(&self) {
        if !self.has_space() {
            self.options.poison.set_refusal(Some(NotAccepting::DiskFull));
        } else if !self.link.is_spare_needed && self.options.store.closed_journals() < journal_rotation::CLOSED_MAX {
            self.options.poison.set_refusal(None);
        }
    }

    /// Returns whether the disk has the space that the writer asks for: without webhooks the writer does not look. If
    /// the disk cannot be asked, the commit finds out.
    fn has_space(&self) -> bool {
        !free_space(&self.options.directory).is_ok_and(|free| free < self.options.limits.disk_reserve)
    }

    /// Seals all closed journals, then merges if that is due.
    fn seal(&mut self) {
        while let Some(journal) = self.options.store.oldest_closed()
            && self.has_handle(journal.sequence)
        {
            if let Err(error) = self.seal_one(journal) {
                return log_failure(&mut self.is_failing, "a journal cannot be sealed", &error);
            }
            self.is_merge_due = true;
            self.report();
        }
        self.is_failing = false;
        if std::mem::take(&mut self.is_merge_due) {
            self.merge();
        }
    }

    fn seal_one(&mut self, journal: JournalFrames) -> Result<(), SealError> {
        let sequence = journal.sequence;
        let segment = if journal.frames.is_empty() { None } else { Some(self.write_segment(&journal)?) };
        // The removal takes a while, and needs no frames.
        drop(journal);
        self.options.store.seal_oldest(segment);
        // A journal with a hole has several entries.
        if self.options.store.has_journal(sequence) {
            return Ok(());
        }
        // Its files cannot be removed before sled's handle is dropped.
        self.link.closed.retain(|closed| closed.sequence() != sequence);
        if self.options.damaged.contains(&sequence) {
            self.set_aside(sequence);
        } else {
            remove(&self.options.directory, sequence, &mut self.link);
        }
        Ok(())
    }

    /// Returns whether the handle of a closed journal has arrived. A journal of an earlier process has none, and needs
    /// none.
    fn has_handle(&self, sequence: u64) -> bool {
        sequence < self.first_sequence || self.link.closed.iter().any(|closed| closed.sequence() == sequence)
    }

    /// Keeps a journal that holds more than could be read.
    fn set_aside(&self, sequence: u64) {
        match journal::set_aside(&self.options.directory, sequence) {
            Ok(()) => tracing::warn!(
                sequence,
                "sealed the readable part of a journal next to missing events, and kept the journal as .aside"
            ),
            Err(error) => tracing::warn!(sequence, %error, "a journal cannot be kept as .aside"),
        }
    }

    fn write_segment(&mut self, journal: &JournalFrames) -> Result<Segment, SealError> {
        let frames: Vec<&[u8]> = journal.frames.iter().map(|(_, frame)| &frame[..]).collect();
        let first = Frame::decode(frames[0])?.header;
        let last = Frame::decode(frames[frames.len() - 1])?.header;
        let header = SegmentHeader {
            identity: self.options.identity,
            first: first.first,
            before: first.before,
            source: journal.sequence,
            merges: 0,
        };
        let path = self.options.directory.join(SegmentName { first: first.first, last: last.last() }.to_string());
        if path.exists() {
            // An earlier try ended after the file was named and before the directory was synced.
            let segment = Segment::open(&path, self.options.identity)?;
            segment.verify()?;
            File::open(&self.options.directory).and_then(|directory| directory.sync_all()).map_err(SealError::Sync)?;
            return if *segment.header() == header { Ok(segment) } else { Err(SealError::Occupied(path)) };
        }
        let mut writer = SegmentWriter::create(&self.options.directory, header, &mut self.link)?;
        repack(frames.into_iter().map(|frame| Ok(frame.to_vec())), &mut writer)?;
        Ok(writer.finish()?)
    }

    /// Merges adjacent small segments once there are many. The next sealed journal triggers the next try.
    fn merge(&mut self) {
        let sealed = self.options.store.sealed();
        let small = sealed.iter().filter_map(as_segment).filter(|segment| is_small(segment)).count();
        let reserve = self.options.limits.disk_reserve.saturating_mul(MERGE_RESERVE_FACTOR);
        if small <= SMALL_MAX || free_space(&self.options.directory).is_ok_and(|free| free < reserve) {
            return;
        }
        let mut runs: Vec<Vec<&Arc<Segment>>> = Vec::new();
        for segment in sealed.iter().filter_map(as_segment).filter(|segment| is_small(segment)) {
            match runs.last_mut() {
                Some(run) if continues(run, segment) => run.push(segment),
                _ => runs.push(vec![segment]),
            }
        }
        for run in runs.iter().filter(|run| run.len() > 1) {
            if let Err(error) = self.merge_run(run) {
                tracing::warn!(
                    error = with_causes(&error),
                    "small segments cannot be merged; the next sealed journal triggers another try"
                );
            }
        }
    }

    fn merge_run(&mut self, run: &[&Arc<Segment>]) -> Result<(), SealError> {
        let [first, _, ..] = run else { return Ok(()) };
        let header = SegmentHeader { source: 0, merges: first.header().merges + 1, ..*first.header() };
        let mut writer = SegmentWriter::create(&self.options.directory, header, &mut self.link)?;
        let frames = run.iter().flat_map(|segment| segment.frames_from(segment.header().first));
        repack(frames, &mut writer)?;
        let merged = writer.finish()?;
        self.options.store.merge(merged);
        for segment in run {
            segment.remove()?;
        }
        Ok(())
    }
}

/// The sealer's end of its link to the writer. Also serves the writer between two pieces of other work.
struct WriterLink {
    messages: Receiver<SealerMessage>,
    spares: SyncSender<Box<dyn JournalWriter>>,
    store: Arc<FrameStore>,
    directory: PathBuf,
    create_journal: CreateJournal,
    /// Sequence of the next journal.
    next_sequence: u64,
    /// Whether the writer needs a journal that is not opened yet.
    is_spare_needed: bool,
    /// Sequence of a spare that the writer has not taken yet.
    offered: Option<u64>,
    /// Open handles of closed journals, in order.
    closed: Vec<Box<dyn JournalWriter>>,
    /// Whether the last try to open a journal failed. The failure was logged.
    is_failing: bool,
    /// Whether the writer is gone.
    has_ended: bool,
    pacer: Pacer,
}

impl WriterLink {
    /// Waits for a message, and acts on it.
    fn serve(&mut self, patience: Duration) {
        match self.messages.recv_timeout(patience) {
            Ok(SealerMessage::Open) => self.offer_spare(),
            Ok(SealerMessage::Switched { closed }) => {
                self.offered = None;
                self.closed.extend(closed);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.has_ended = true,
        }
        self.pacer.resume();
    }

    /// Opens the next journal. A failure is tried again in the next round.
    fn offer_spare(&mut self) {
        self.is_spare_needed = true;
        let sequence = self.next_sequence;
        match (self.create_journal)(&self.directory, sequence) {
            Ok(journal) => {
                self.next_sequence += 1;
                self.is_spare_needed = false;
                self.is_failing = false;
                self.offered = Some(sequence);
                // The channel is empty: the spare before was taken.
                if self.spares.try_send(journal).is_err() {
                    self.has_ended = true;
                }
            }
            Err(error) => {
                log_failure(&mut self.is_failing, "the next journal cannot be opened", &error);
                // The leftovers of the failed try would block the next one.
                if !remove(&self.directory, sequence, &mut AtOnce) {
                    self.next_sequence += 1;
                }
            }
        }
    }

    /// Removes the spare journal that the writer did not take.
    fn remove_spare(&self) {
        if let Some(sequence) = self.offered {
            remove(&self.directory, sequence, &mut AtOnce);
        }
    }
}

/// Pauses leave the disk and the cores to the writer. There are none once a second closed journal waits, because the
/// writer would soon wait, too. There are none once the writer is gone.
impl Pace for WriterLink {
    fn is_slow(&self) -> bool {
        !self.has_ended && self.store.closed_journals() < journal_rotation::CLOSED_MAX
    }

    fn pause(&mut self) {
        if !self.has_ended {
            self.serve(if self.is_slow() { self.pacer.due_pause() } else { Duration::ZERO });
        }
    }
}

/// Removes a journal. Returns whether it is gone.
fn remove(directory: &Path, sequence: u64, pace: &mut dyn Pace) -> bool {
    let removed = journal::remove(directory, sequence, pace);
    if let Err(error) = &removed {
        tracing::warn!(sequence, %error, "a journal cannot be removed; the next start removes it");
    }
    removed.is_ok()
}

fn log_failure(is_failing: &mut bool, what: &'static str, error: &dyn std::error::Error) {
    if !std::mem::replace(is_failing, true) {
        tracing::warn!(error = with_causes(error), "{what}; trying again");
    }
}

fn as_segment(sealed: &Sealed) -> Option<&Arc<Segment>> {
    match sealed {
        Sealed::Segment(segment) => Some(segment),
        Sealed::Damaged { .. } => None,
    }
}

fn is_small(segment: &Segment) -> bool {
    segment.bytes() < SMALL_BYTES && segment.header().merges < MERGES_MAX && segment.after().is_some()
}

/// Returns whether a segment may be merged with the segments of a run.
fn continues(run: &[&Arc<Segment>], segment: &Segment) -> bool {
    let bytes: u64 = run.iter().map(|segment| segment.bytes()).sum();
    bytes < MERGED_BYTES_MAX
        && run.last().is_none_or(|last| {
            let last = last.header();
            let next = segment.header();
            last.merges == next.merges && last.identity == next.identity
        })
        && run.last().is_none_or(|last| last.last() + 1 == segment.header().first)
}

/// Copies the records of frames into larger frames. A gap, or a frame whose records cannot be read, is copied as it is.
fn repack(
    frames: impl Iterator<Item = Result<Vec<u8>, SegmentError>>,
    writer: &mut SegmentWriter<impl Pace>,
) -> Result<(), SealError> {
    let mut builder: Option<FrameBuilder> = None;
    for frame in frames {
        let bytes = frame?;
        let frame = Frame::decode(&bytes)?;
        let Some(records) = records_of(&frame) else {
            finish(builder.take(), writer)?;
            writer.push(&bytes)?;
            continue;
        };
        let builder = builder.get_or_insert_with(|| {
            FrameBuilder::new(frame.header.first, frame.header.before, FRAME_RECORDS_MAX, FRAME_BYTES_MAX)
        });
        for record in records {
            if !builder.fits(record.size()) {
                writer.push(&builder.finish()?)?;
            }
            builder.push_stored(&record);
        }
    }
    finish(builder, writer)
}

fn finish(builder: Option<FrameBuilder>, writer: &mut SegmentWriter<impl Pace>) -> Result<(), SealError> {
    match builder {
        Some(mut builder) if !builder.is_empty() => Ok(writer.push(&builder.finish()?)?),
        _ => Ok(()),
    }
}

/// Returns the records of a frame. `None` if the frame is a gap, or if its checksum is right but its records are not.
fn records_of<'a>(frame: &Frame<'a>) -> Option<Vec<StoredRecord<'a>>> {
    let first = frame.header.first;
    let last = frame.header.last();
    if frame.header.is_gap() {
        return None;
    }
    let records = format::records(frame);
    records
        .inspect_err(|reason| tracing::error!(first, last, %reason, "events cannot be read; keeping them as they are"))
        .ok()
}
