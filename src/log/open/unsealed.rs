//! The part of a log that is not sealed yet: reads the journals, in order, as one chain, and decides which are used,
//! removed or set aside. Must not write.

use std::path::Path;

use bytes::Bytes;

use super::error::OpenError;
use super::notes::Notes;
use super::sealed::SealedLog;
use crate::event::{Hash, Point, Position, Timestamp};
use crate::log::dedup::key::{Claim, Digest};
use crate::log::files::secret::LogSecret;
use crate::log::files::witness::Witness;
use crate::log::format;
use crate::log::frame_store::JournalFrames;
use crate::log::journal::{self, FoundFrames, JournalFrame, Recovered};
use crate::segment::Frame;

/// Maximum bytes of values in one commit: the most that a power cut may leave of a commit that was never answered.
const COMMIT_BYTES_MAX: u64 = 640 * 1024;

/// Content of the journals.
pub(in crate::log) struct Unsealed {
    /// Frames by journal, ascending, each with its journal's sequence. A journal with a hole has several entries.
    pub journals: Vec<(u64, FoundFrames)>,
    pub head: Point,
    /// Whether damage hides the chain at the head. If so, its value is 0 there.
    pub is_chain_hidden: bool,
    /// Journals to remove: verified segments hold everything of them, or no slot has named them and they hold no whole
    /// frame.
    pub removable: Vec<u64>,
    /// Journals of which nothing can be used. They are kept under another name.
    pub aside: Vec<u64>,
    /// Journals with acknowledged events that cannot be read. They are kept once the rest is sealed.
    pub damaged: Vec<u64>,
    /// Reason why the log cannot be opened. `None` if it can.
    pub refusal: Option<OpenError>,
}

impl Unsealed {
    /// Returns the frames as their journals hold them, in order.
    pub fn stored_frames(&self) -> impl Iterator<Item = &JournalFrame> {
        self.journals.iter().flat_map(|(_, found)| &found.frames)
    }

    pub fn frames(&self) -> Vec<JournalFrames> {
        let frames = |(sequence, found): &(u64, FoundFrames)| JournalFrames {
            sequence: *sequence,
            frames: found.frames.iter().filter_map(|frame| with_first(&frame.frame)).collect(),
        };
        self.journals.iter().map(frames).collect()
    }
}

/// Returns a frame with its first position.
fn with_first(frame: &Bytes) -> Option<(Position, Bytes)> {
    Frame::decode(frame).ok().map(|decoded| (decoded.header.first, frame.clone()))
}

/// Reads all journals of a directory. Unreadable events of a journal that others follow are a hole. Unreadable events
/// of the last journal that the witness names are refused. Nothing of a journal that no slot has named was
/// acknowledged: only frames that join up are taken. `secret` shows which log a journal belongs to, if damage hides the
/// chain before it. `None` if it is lost.
pub(in crate::log) fn read(
    directory: &Path,
    sequences: &[u64],
    sealed: &mut SealedLog,
    witness: Option<&Witness>,
    secret: Option<&LogSecret>,
    notes: &mut Notes,
) -> Result<Unsealed, OpenError> {
    let mut journals = Vec::new();
    for sequence in sequences {
        journals.push((*sequence, journal::recover(directory, *sequence)?));
    }
    // Without a witness, the last journal that holds anything is the one that it would name.
    let last = journals.iter().rev().find(|(_, recovered)| !recovered.is_blank()).map_or(0, |(sequence, _)| *sequence);
    let mut reading = JournalReading {
        named: witness.map_or(last, |witness| witness.journal),
        witnessed: witness.map_or(0, |witness| witness.head.position),
        journals: &journals,
        secret,
        sealed,
        notes,
        end: ChainEnd { position: 0, chain: None },
        unsealed: Unsealed {
            journals: Vec::new(),
            head: Point { position: 0, chain: Hash::default(), recorded_at: Timestamp::default() },
            is_chain_hidden: false,
            removable: Vec::new(),
            aside: Vec::new(),
            damaged: Vec::new(),
            refusal: None,
        },
    };
    reading.begin();
    for (sequence, recovered) in &journals {
        reading.take(*sequence, recovered)?;
    }
    Ok(reading.finish())
}

/// Returns whether none of the digests in these frames was made with the secret, while some can be compared. The frames
/// are of one journal, written in one process lifetime.
pub(super) fn are_foreign(frames: &[JournalFrame], secret: &LogSecret) -> bool {
    let mut has_compared = false;
    for stored in frames.iter().filter(|stored| stored.generation == secret.generation) {
        // Frames that claim no key are skipped. Reading them would take long if a whole journal claims none.
        if stored.keys.iter().all(|key| key.digest == Digest::NONE.to_bytes()) {
            continue;
        }
        let Ok(frame) = Frame::decode(&stored.frame) else { continue };
        let records = format::records(&frame).unwrap_or_default();
        for (record, key) in records.iter().zip(&stored.keys) {
            // The claim of a conflict depends on its fingerprint, which another version may compute in another way.
            let event = record.event().ok().filter(|event| event.conflict_of.is_none());
            let Some(made) = event.and_then(|event| Claim::of_stored(secret, &event)) else { continue };
            if made.digest.to_bytes() == key.digest {
                return false;
            }
            has_compared = true;
        }
    }
    has_compared
}

/// Point from which the next frame continues. `chain` is `None` if damage hides it.
#[derive(Clone, Copy)]
struct ChainEnd {
    position: Position,
    chain: Option<Hash>,
}

struct JournalReading<'a> {
    /// Sequence of the last journal that a slot has named.
    named: u64,
    /// Position up to which the witness has seen the log.
    witnessed: Position,
    /// All journals, ascending by sequence.
    journals: &'a [(u64, Recovered)],
    secret: Option<&'a LogSecret>,
    sealed: &'a mut SealedLog,
    notes: &'a mut Notes,
    end: ChainEnd,
    unsealed: Unsealed,
}

impl JournalReading<'_> {
    fn begin(&mut self) {
        let end = self.sealed.end;
        self.end = ChainEnd { position: end.position, chain: end.chain };
        self.unsealed.head.recorded_at = end.recorded_at;
    }

    fn take(&mut self, sequence: u64, recovered: &Recovered) -> Result<(), OpenError> {
        if recovered.is_blank() {
            self.take_blank(sequence);
            return Ok(());
        }
        if self.sealed.holds(recovered)? {
            self.unsealed.removable.push(sequence);
            return Ok(());
        }
        if recovered.last().is_none() && sequence > self.named {
            // The journal holds the beginning of a commit that was cut.
            self.unsealed.removable.push(sequence);
            return Ok(());
        }
        if self.unsealed.journals.is_empty() && self.sealed.hand_back(recovered, self.notes) {
            self.begin();
        }
        let before = self.unsealed.journals.len();
        let joined = recovered.follow(self.end.position, self.end.chain);
        let is_other = joined.frames.is_empty() && !recovered.follow(self.end.position, None).frames.is_empty();
        if sequence > self.named {
            // Without the chain it is unknown whether the journal joins up. Nothing of it was acknowledged.
            if self.end.chain.is_some() {
                self.push(sequence, joined);
            }
        } else if is_other {
            let by = format!("journal {sequence}");
            self.refuse(OpenError::OtherHistory { position: self.end.position + 1, by });
        } else if self.end.chain.is_none() && self.is_foreign(&joined.frames) {
            self.refuse(OpenError::Foreign { what: format!("journal {sequence}") });
        } else {
            self.push(sequence, joined);
            self.push_beyond_holes(sequence, recovered);
        }
        if self.unsealed.journals.len() == before {
            self.notes.note(format!("journal {sequence} holds no frame that continues the log: it is set aside"));
            self.unsealed.aside.push(sequence);
        }
        self.check_rest(sequence, recovered);
        Ok(())
    }

    fn take_blank(&mut self, sequence: u64) {
        if sequence > self.named || self.witnessed == 0 {
            self.unsealed.removable.push(sequence);
        } else if sequence == self.named {
            let reason = format!("journal {sequence} held acknowledged events, and its file holds none");
            let next = self.end.position + 1;
            self.refuse(OpenError::Damaged { range: next..=next.max(self.witnessed), reason });
        } else {
            self.notes.note(format!("journal {sequence} holds nothing readable: it is set aside"));
            self.unsealed.aside.push(sequence);
        }
    }

    fn push(&mut self, sequence: u64, found: FoundFrames) {
        if found.frames.is_empty() {
            return;
        }
        self.end = ChainEnd { position: found.reached, chain: found.chain };
        self.unsealed.head.recorded_at = found.recorded_at.unwrap_or(self.unsealed.head.recorded_at);
        self.unsealed.journals.push((sequence, found));
    }

    /// Takes frames beyond damage. They must have been acknowledged: no later journal continues from before them.
    /// Damage within the last journal is refused. Before its first whole frame, the missing part may belong to the
    /// segment or journal before it.
    fn push_beyond_holes(&mut self, sequence: u64, recovered: &Recovered) {
        let is_last = sequence == self.named;
        let mut searched = self.end.position;
        while let Some(next) = recovered.next_after(searched) {
            searched = next;
            let has_begun = recovered.first().is_some_and(|first| first <= self.end.position);
            if (is_last && has_begun) || self.goes_on_later(sequence) {
                return;
            }
            let found = recovered.follow(next - 1, None);
            if next <= self.end.position || found.frames.is_empty() {
                continue;
            }
            if self.is_foreign(&found.frames) {
                self.refuse(OpenError::Foreign { what: format!("journal {sequence}") });
                return;
            }
            let hole = self.end.position + 1..=next - 1;
            self.notes.lose(hole, "no segment and no journal holds them");
            // It is unknown which journal the hole belongs to.
            self.unsealed.damaged.extend(self.unsealed.journals.last().map(|(before, _)| *before));
            self.unsealed.damaged.push(sequence);
            self.push(sequence, found);
            searched = self.end.position;
        }
    }

    fn is_foreign(&self, frames: &[JournalFrame]) -> bool {
        self.secret.is_some_and(|secret| are_foreign(frames, secret))
    }

    /// Returns whether a later journal joins up with the end. If so, the frames of this journal beyond the end are the
    /// torn end of its process.
    fn goes_on_later(&self, sequence: u64) -> bool {
        let Some(chain) = self.end.chain else { return false };
        let mut later = self.journals.iter().filter(|(other, _)| *other > sequence);
        later.any(|(_, recovered)| !recovered.follow(self.end.position, Some(chain)).frames.is_empty())
    }

    /// Checks the bytes that the last journal holds beyond the end. They may be the torn end of a power cut, if one
    /// commit can have left them.
    fn check_rest(&mut self, sequence: u64, recovered: &Recovered) {
        let reached = self.end.position;
        let rest = recovered.bytes_after(reached);
        if sequence < self.named || rest == 0 {
            return;
        }
        if sequence == self.named && rest > COMMIT_BYTES_MAX {
            let reason = format!("journal {sequence} holds later events, but not these");
            let last = recovered.last().unwrap_or(0).max(reached + 1);
            self.refuse(OpenError::Damaged { range: reached + 1..=last, reason });
        } else {
            self.notes.note(format!(
                "journal {sequence} has bytes that do not continue the log after position {reached}: they count as an \
                 unacknowledged commit that a power cut tore. Damage since the last sync of the witness looks the same"
            ));
        }
    }

    /// Refuses the log. The first refusal stays.
    fn refuse(&mut self, error: OpenError) {
        self.unsealed.refusal.get_or_insert(error);
    }

    fn finish(mut self) -> Unsealed {
        self.unsealed.is_chain_hidden = self.end.chain.is_none();
        self.unsealed.head.position = self.end.position;
        self.unsealed.head.chain = self.end.chain.unwrap_or_default();
        self.unsealed
    }
}
