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
    /// `first` has its key. What that one tells must be read, or whether the runs have a conflict with it.
    Undecided { first: KeyEntry },
}

/// What the runs have of a record's key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The first with the key. `None` if no run has it. Its fingerprint holds where memory knows none.
    pub first: Option<KeyEntry>,
    /// A run has a conflict of this content with that first one.
    pub has_conflict: bool,
    /// The last position that these runs cover: memory has all that is later.
    pub through: Position,
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
    let Some(entry) = first_of(recent, claim.digest, known) else {
        may_stamp?;
        recent.claim(claim, next);
        return Ok(Verdict::New);
    };
    let KeyEntry { position: first, fingerprint, .. } = entry;
    if fingerprint == claim.fingerprint {
        return Ok(Verdict::Duplicate { first });
    }
    // What the runs know of conflicts is of what they know as the first. It may be known from memory only, where its run was lost.
    let is_asked = known.first.is_some_and(|known| known.position == first);
    if fingerprint == Fingerprint::UNKNOWN || (!is_asked && first < known.through) {
        return Ok(Verdict::Undecided { first: entry });
    }
    let conflict = Claim { digest: Digest::of_conflict(secret, first, claim.fingerprint), ..claim };
    if (is_asked && known.has_conflict) || recent.find(conflict.digest).is_some() {
        return Ok(Verdict::KnownConflict { first });
    }
    may_stamp?;
    recent.claim(conflict, next);
    Ok(Verdict::Conflict { first, digest: conflict.digest })
}

/// The first with a key, in memory or in the runs: the lowest position, and the fingerprint if either knows it.
fn first_of(recent: &RecentKeys, digest: Digest, known: Known) -> Option<KeyEntry> {
    let found = recent.find(digest).into_iter().chain(known.first);
    found.min_by_key(|entry| (entry.position, entry.fingerprint == Fingerprint::UNKNOWN))
}
