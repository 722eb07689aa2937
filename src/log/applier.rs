//! Decides what becomes of a record: whether it is new, or its key is taken, and then whether it tells what the first with its key
//! tells. Pure: the keys in memory, what was found in the runs, and the record decide; no clock, no disk, no queue.

use super::dedup::{Claim, Digest, Fingerprint, KeyEntry, RecentKeys};
use super::files::secret::LogSecret;
use crate::event::Position;

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is appended, and has claimed its key.
    New,
    /// The event at `first` has its key, and tells the same.
    Duplicate { first: Position },
    /// The event at `first` has its key, and tells something else. It is appended beside that one, and has claimed this digest of
    /// its content.
    Conflict { first: Position, digest: Digest },
    /// The same, and a record with its content is there.
    KnownConflict { first: Position },
    /// The event at `first` has its key, and must be read to say what it tells.
    Undecided { first: Position },
}

/// What the runs have of a record's key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The first with the key. `None` if no run has it. Its fingerprint holds where memory knows none.
    pub first: Option<KeyEntry>,
    /// A run has a conflict with this content.
    pub has_conflict: bool,
}

/// Applies the record that would be at `next`. `may_stamp`: the error if no new record may have the present time; then nothing is
/// claimed, and duplicates are found all the same.
pub(super) fn apply<E>(
    recent: &mut RecentKeys,
    secret: &LogSecret,
    claim: Claim,
    known: Known,
    next: Position,
    may_stamp: Result<(), E>,
) -> Result<Verdict, E> {
    if claim.digest == Digest::NONE {
        return may_stamp.map(|()| Verdict::New);
    }
    let Some(KeyEntry { position: first, fingerprint, .. }) = first_of(recent, claim.digest, known) else {
        may_stamp?;
        recent.claim(claim, next);
        return Ok(Verdict::New);
    };
    if fingerprint == claim.fingerprint {
        return Ok(Verdict::Duplicate { first });
    }
    if fingerprint == Fingerprint::UNKNOWN {
        return Ok(Verdict::Undecided { first });
    }
    let conflict = Claim { digest: Digest::of_conflict(secret, first, claim.fingerprint), ..claim };
    if known.has_conflict || recent.find(conflict.digest).is_some() {
        return Ok(Verdict::KnownConflict { first });
    }
    may_stamp?;
    recent.claim(conflict, next);
    Ok(Verdict::Conflict { first, digest: conflict.digest })
}

/// The first with a key, in memory or in the runs.
fn first_of(recent: &RecentKeys, digest: Digest, known: Known) -> Option<KeyEntry> {
    match (recent.find(digest), known.first) {
        (Some(recent), Some(read))
            if recent.fingerprint == Fingerprint::UNKNOWN && recent.position == read.position =>
        {
            Some(read)
        }
        (recent, known) => recent.or(known),
    }
}
