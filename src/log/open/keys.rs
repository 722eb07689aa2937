//! The dedup index of a log that was examined: the usable runs, the keys in memory for the end of the log that no run
//! covers, and the lost ranges between the runs. Also decides whether the secret is the one that the stored keys were
//! made with. Must not know the layout of runs and journals.

use std::io;
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::examine::Examined;
use super::notes::SeenPoint;
use super::unsealed::are_foreign;
use crate::event::{Point, Position, Timestamp};
use crate::log::dedup::key::{Claim, Digest, Fingerprint, RunOrigin};
use crate::log::dedup::{
    self, Collected, Coverage, KeyEntry, KeyIndex, KeyTable, LoadError, Loaded, RecentKeys, RunSet, Span, UnusableRun,
};
use crate::log::files::layout::NewLog;
use crate::log::files::secret::LogSecret;
use crate::log::format;
use crate::log::journal::{JournalFrame, JournalKey};
use crate::segment::Frame;
use crate::storage::StoreError;
use crate::telemetry::with_causes;

/// Length, in runs, of the uncovered end of the log that is read at the start. A longer one is read again while the log
/// is open.
const TAIL_RUNS: u64 = 2;

/// Keys of a log.
pub(in crate::log) struct LoadedKeys {
    pub index: KeyIndex,
    pub origin: RunOrigin,
    /// Ranges whose runs are lost, ascending.
    pub lost: Vec<Span>,
}

/// Loads the runs of this log and epoch, whatever their secret.
pub(in crate::log) fn load(examined: &Examined, directory: &Path) -> Result<Loaded, OpenError> {
    let identity = examined.identity();
    dedup::load(directory, |header| header.origin.identity == identity).map_err(|error| match error {
        LoadError::Newer { path, format } => {
            OpenError::Newer { what: path.display().to_string(), format: format.into() }
        }
        LoadError::List { path, source } => {
            StoreError::new(format!("list the dedup runs in {}", path.display()), source).into()
        }
    })
}

/// Returns the log's secret. Makes a new one if it is lost, or if the stored digests were made with another one. The
/// new secret has a generation that no file names, so all stored digests are made again.
pub(in crate::log) fn settle_secret(examined: &mut Examined, runs: &RunSet, fresh: &NewLog) -> LogSecret {
    if let Some(secret) = examined.secret.take() {
        if !is_foreign(&secret, examined, runs) {
            return secret;
        }
        tracing::warn!(
            "the file SECRET belongs to another log; creating a new one, and reading all keys from the log again"
        );
        examined.is_secret_damaged = true;
    }
    let of_runs = runs.runs().iter().map(|run| run.header().origin.generation);
    let of_journals = examined.unsealed.stored_frames().map(|frame| frame.generation);
    let newest = of_journals.chain(of_runs).max().unwrap_or(0);
    LogSecret { generation: newest + 1, key: fresh.secret.clone() }
}

/// Returns whether stored digests that name the secret's generation were made with another secret: one digest of the
/// newest run, or all digests of a journal.
fn is_foreign(secret: &LogSecret, examined: &Examined, runs: &RunSet) -> bool {
    let newest = runs.runs().iter().rfind(|run| run.header().origin.generation == secret.generation);
    let stored = newest.and_then(|run| run.entries().next()?.ok());
    let is_other = stored.is_some_and(|stored| {
        // The claim of a conflict depends on its fingerprint, which another version may compute in another way.
        let event = examined.event(stored.position).filter(|event| event.conflict_of.is_none());
        event.and_then(|event| Claim::of_stored(secret, &event)).is_some_and(|made| made.digest != stored.digest)
    });
    is_other || examined.unsealed.journals.iter().any(|(_, found)| are_foreign(&found.frames, secret))
}

/// Collects the keys. Refuses runs that have seen more than the log, or another history. Removes unusable runs.
pub(in crate::log) fn collect(
    examined: &Examined,
    secret: &LogSecret,
    loaded: Loaded,
    directory: &Path,
    run_events: u64,
) -> Result<LoadedKeys, OpenError> {
    if let Some(newest) = loaded.set.runs().last() {
        let by = "its newest dedup run (directory `dedup`)".to_owned();
        let header = newest.header();
        examined.check_seen(&SeenPoint { by, identity: header.origin.identity, head: header.head })?;
    }
    let origin = examined.run_origin(secret);
    let (of_secret, others): (Vec<_>, Vec<_>) =
        loaded.set.runs().iter().cloned().partition(|run| run.header().origin == origin);
    let runs = of_secret.into_iter().fold(RunSet::default(), |runs, run| runs.with(run).unwrap_or(runs));
    // A run that the system refuses to read now may be whole.
    let unusable = loaded.unusable.iter().filter(|file| !matches!(file.source, UnusableRun::Io(_)));
    let unusable = unusable.map(|file| file.path.clone());
    let unneeded = unusable.chain(loaded.covered).chain(others.iter().map(|run| run.path().to_owned()));
    loaded.unusable.iter().for_each(|file| tracing::warn!(error = with_causes(file), "rebuilding a dedup run"));
    if !others.is_empty() {
        tracing::warn!(runs = others.len(), "rebuilding the dedup runs of another log secret");
    }
    clear(directory, unneeded.collect()).map_err(|error| StoreError::new("open the dedup runs", error))?;
    let mut collector = Collector { secret, run_events, recent: RecentKeys::after(0), lost: Vec::new() };
    collector.collect(examined, &runs);
    let Collector { recent, lost, .. } = collector;
    report(&lost);
    let coverage = if lost.is_empty() { Coverage::Whole } else { Coverage::Partial };
    Ok(LoadedKeys { index: KeyIndex::new(recent, runs, coverage), origin, lost })
}

fn clear(directory: &Path, unneeded: Vec<PathBuf>) -> io::Result<()> {
    dedup::prepare(directory)?;
    if unneeded.is_empty() { Ok(()) } else { dedup::remove(directory, unneeded) }
}

fn report(lost: &[Span]) {
    for Span { after, through } in lost {
        tracing::warn!(
            after,
            through,
            "no dedup run has the keys of these positions; reading the keys from the log again"
        );
    }
}

struct Collector<'a> {
    secret: &'a LogSecret,
    run_events: u64,
    recent: RecentKeys,
    lost: Vec<Span>,
}

impl Collector<'_> {
    fn collect(&mut self, examined: &Examined, runs: &RunSet) {
        let sealed_end = examined.sealed.end.position;
        let covered = runs.through();
        self.lost = runs.gaps(covered);
        let reached = covered.max(sealed_end);
        if covered < sealed_end {
            self.take_tail(examined, Span { after: covered, through: sealed_end });
        } else {
            self.recent.skip_to(reached);
        }
        self.take_journals(examined, reached);
    }

    /// Takes the end of the sealed part, which no run covers.
    fn take_tail(&mut self, examined: &Examined, tail: Span) {
        if tail.positions() <= self.run_events.saturating_mul(TAIL_RUNS) {
            self.read_tail(examined, tail);
        } else {
            self.lost.push(tail);
        }
        self.recent.skip_to(tail.through);
    }

    /// Reads the keys of a range into memory. If the system refuses to read them now, the range is lost.
    fn read_tail(&mut self, examined: &Examined, tail: Span) {
        match dedup::collect(&examined.store, self.secret, tail, false) {
            Ok(Collected { entries, head, is_complete }) => {
                let nowhere = Point { position: tail.through, chain: [0; 32], recorded_at: Timestamp::default() };
                let is_whole = is_complete && head.is_some();
                self.recent.add(KeyTable::of(tail.after, head.unwrap_or(nowhere), is_whole, &entries));
            }
            Err(error) => {
                tracing::warn!(%error, "the newest keys cannot be read from the log; trying again");
                self.lost.push(tail);
            }
        }
    }

    /// Takes the unsealed part after a position. No table knows a hole.
    fn take_journals(&mut self, examined: &Examined, after: Position) {
        let mut reached = after;
        let mut head = None;
        for stored in examined.unsealed.stored_frames() {
            let Ok(frame) = Frame::decode(&stored.frame) else { continue };
            let header = frame.header;
            if header.last() <= reached {
                continue;
            }
            if header.first > reached + 1 {
                if let Some(head) = head {
                    self.recent.close(head);
                }
                self.recent.skip_to(header.first - 1);
            }
            self.take_frame(stored, &frame, reached);
            reached = header.last();
            let end = Point { position: reached, chain: header.after, recorded_at: header.last_recorded_at };
            self.recent.close_if_full(end, self.run_events);
            head = Some(end);
        }
    }

    fn take_frame(&mut self, stored: &JournalFrame, frame: &Frame<'_>, reached: Position) {
        let is_current = stored.generation == self.secret.generation && has_fingerprints(&stored.keys);
        let entries = if is_current { stored_keys(frame, &stored.keys) } else { self.read_keys(stored, frame) };
        for KeyEntry { digest, position, fingerprint } in entries {
            if position <= reached || digest == Digest::NONE {
                continue;
            }
            if let Some(first) = self.recent.claim(Claim { digest, fingerprint }, position) {
                let first = first.position;
                tracing::warn!(first, position, "two events of the log have the same key; the second is a duplicate");
            }
        }
    }

    /// Reads the keys from the records, if another secret or another version made the stored ones. Keys that cannot be
    /// read are missing, and the table is marked incomplete. If no record of the frame can be read and the secret is
    /// the same, the stored keys are used.
    fn read_keys(&mut self, stored: &JournalFrame, frame: &Frame<'_>) -> Vec<KeyEntry> {
        let Ok(records) = format::records(frame) else {
            self.recent.mark_incomplete();
            let is_ours = stored.generation == self.secret.generation;
            return if is_ours { stored_keys(frame, &stored.keys) } else { Vec::new() };
        };
        let mut entries = Vec::new();
        for record in records {
            let Ok(event) = record.event() else {
                self.recent.mark_incomplete();
                continue;
            };
            let claim = Claim::of_stored(self.secret, &event);
            entries.extend(claim.map(|Claim { digest, fingerprint }| KeyEntry {
                digest,
                position: record.position,
                fingerprint,
            }));
        }
        entries
    }
}

/// Returns whether the keys have fingerprints. Format 1 of a journal's values had none, and made the digests of
/// conflicts in another way.
fn has_fingerprints(keys: &[JournalKey]) -> bool {
    let is_known = |key: &JournalKey| key.fingerprint != Fingerprint::UNKNOWN.0;
    keys.iter().all(|key| key.digest == Digest::NONE.to_bytes() || is_known(key))
}

fn stored_keys(frame: &Frame<'_>, keys: &[JournalKey]) -> Vec<KeyEntry> {
    let entry = |(position, key): (Position, &JournalKey)| KeyEntry {
        digest: Digest::from_bytes(key.digest),
        position,
        fingerprint: Fingerprint(key.fingerprint),
    };
    (frame.header.first..).zip(keys).map(entry).collect()
}
