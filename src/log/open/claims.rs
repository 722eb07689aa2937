//! The dedup index of a log that was examined: what the dedup runs hold, and what the log has beyond them; and whether the
//! secret is the one that their digests were made with.

use std::sync::Arc;

use super::super::dedup::{DedupIndex, Digest, Known, RunStore, Saver};
use super::super::files::layout::Fresh;
use super::super::files::secret::LogSecret;
use super::super::format::{self, ErasedPayload};
use super::super::frame_store::Sealed;
use super::super::{Head, OpenError};
use super::Seen;
use super::examine::Examined;
use super::journals::are_foreign;
use crate::blocklog::StoreError;
use crate::event::{Hash, Kind, Position, Timestamp};
use crate::segment::{Frame, FrameHeader, Segment};
use crate::telemetry::with_causes;

pub(in crate::log) struct Claims {
    pub index: Arc<DedupIndex>,
    /// Has the claims that no run covers.
    pub saver: Saver,
}

/// The log's secret. A new one in the place of one that is lost, or that stored digests were not made with: of a generation
/// that no file names, so that all of these are made again.
pub(in crate::log) fn settle_secret(examined: &mut Examined, known: &Known, fresh: &Fresh) -> LogSecret {
    if let Some(secret) = examined.secret.take() {
        if !is_foreign(&secret, examined, known) {
            return secret;
        }
        tracing::warn!(
            "the file SECRET is of another log: a new one is made, and all keys are read from the log again"
        );
        examined.is_secret_damaged = true;
    }
    let of_runs = known.reached.map(|(origin, _)| origin.generation);
    let of_journals = examined.unsealed.stored_frames().map(|frame| frame.generation);
    let newest = of_journals.chain(of_runs).max().unwrap_or(0);
    LogSecret { generation: newest + 1, key: fresh.secret.clone() }
}

/// Whether stored digests that name the secret's generation were made with another secret: the newest of the runs, or all of a
/// journal.
fn is_foreign(secret: &LogSecret, examined: &Examined, known: &Known) -> bool {
    let is_of_secret = known.reached.is_some_and(|(origin, _)| origin.generation == secret.generation);
    let newest = known.newest.filter(|_| is_of_secret);
    let is_other = newest.is_some_and(|(stored, position)| {
        // A conflict claims by its fingerprint, which another version takes otherwise.
        let event = examined.event(position).filter(|event| event.conflict_of.is_none());
        event.and_then(|event| Digest::of_stored(secret, &event)).is_some_and(|made| made != stored)
    });
    is_other || examined.unsealed.journals.iter().any(|(_, found)| are_foreign(&found.frames, secret))
}

/// Refuses runs that reach further than the log. What they do not cover is read, and saved as runs of `run_events` each.
pub(in crate::log) fn collect(
    examined: &Examined,
    secret: &LogSecret,
    known: Known,
    runs: Arc<dyn RunStore>,
    run_events: u64,
) -> Result<Claims, OpenError> {
    if let Some((origin, head)) = known.reached {
        let by = "its newest dedup run (directory `dedup`)".to_owned();
        examined.check_seen(&Seen { by, identity: origin.identity, head })?;
    }
    runs.prepare().map_err(|error| StoreError::new("open the dedup runs", error))?;
    let origin = examined.run_origin(secret);
    let known = known.of(origin, &*runs).map_err(|error| StoreError::new("remove the dedup runs", error))?;
    let empty = Head { position: 0, chain: Hash::default(), recorded_at: Timestamp::default() };
    let reached = known.reached.map_or(empty, |(_, head)| head);
    let saver = Saver::spawn(runs, origin, run_events, reached.position)?;
    let mut collector = Collector { secret, index: Arc::new(known.index), saver, after: reached.position };
    collector.collect(examined);
    Ok(Claims { index: collector.index, saver: collector.saver })
}

struct Collector<'a> {
    secret: &'a LogSecret,
    index: Arc<DedupIndex>,
    saver: Saver,
    /// Positions up to here are known.
    after: Position,
}

impl Collector<'_> {
    /// Once something cannot be read, no run is saved: it may be readable at a later start, from a segment that was put back, and
    /// no start would look for its keys.
    fn collect(&mut self, examined: &Examined) {
        let reached = self.after;
        for sealed in examined.sealed.sealed.iter().filter(|sealed| sealed.last() > reached) {
            match sealed {
                Sealed::Segment(segment) => self.read_segment(segment, reached),
                Sealed::Damaged { .. } => self.saver.suspend(),
            }
        }
        for frame in examined.unsealed.stored_frames() {
            let is_current = frame.generation == self.secret.generation;
            self.read(&frame.frame, is_current.then_some(&frame.digests));
        }
    }

    fn read_segment(&mut self, segment: &Segment, reached: Position) {
        for frame in segment.frames_from(reached + 1) {
            match frame {
                Ok(bytes) => self.read(&bytes, None),
                Err(error) => {
                    tracing::error!(error = with_causes(&error), "keys of the log cannot be read");
                    self.saver.suspend();
                }
            }
        }
        if segment.after().is_none() {
            self.saver.suspend();
        }
    }

    /// `digests`: those that were stored with the frame. `None` if they are to be made from its records.
    fn read(&mut self, bytes: &[u8], digests: Option<&Vec<[u8; 16]>>) {
        let Ok(frame) = Frame::decode(bytes) else { return };
        let header = frame.header;
        if header.last() <= self.after {
            return;
        }
        match digests {
            Some(digests) => {
                for (position, digest) in (header.first..).zip(digests) {
                    self.claim(Digest::from_bytes(*digest), position);
                }
            }
            None => self.read_records(&frame),
        }
        self.after = header.last();
        self.saver.durable(head_of(&header));
    }

    fn read_records(&mut self, frame: &Frame<'_>) {
        for record in format::records(frame).unwrap_or_default() {
            // What an erased record claimed is in the record of its erasure; what a sealed one claims nobody can say.
            let Ok(event) = record.event() else { continue };
            if record.header.kind == Kind::ERASED {
                self.read_erasure(&event.delivery.body);
            } else if let Some(digest) = Digest::of_stored(self.secret, &event) {
                self.claim(digest, record.position);
            }
        }
    }

    fn read_erasure(&mut self, body: &[u8]) {
        let Ok(payload) = ErasedPayload::decode(body) else { return };
        if payload.generation != self.secret.generation {
            return;
        }
        for record in payload.records {
            self.index.claim(Digest::from_bytes(record.digest), record.position);
        }
    }

    fn claim(&mut self, digest: Digest, position: Position) {
        if digest == Digest::NONE || position <= self.after {
            return;
        }
        match self.index.claim(digest, position) {
            None => self.saver.claimed(digest, position),
            Some(first) if first != position => {
                tracing::warn!(first, position, "two events of the log have one key: the second is a duplicate");
            }
            Some(_) => {}
        }
    }
}

fn head_of(header: &FrameHeader) -> Head {
    Head { position: header.last(), chain: header.after, recorded_at: header.last_recorded_at }
}
