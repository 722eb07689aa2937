//! Decides about a record: whether it is new, or its key is taken, and then whether its content is that of the first
//! record with the key. Pure: only the keys in memory, the keys found in the runs, and the record decide. Must not use
//! a clock, a disk or a queue.

use crate::event::Position;
use crate::log::dedup::key::{Claim, Digest, Fingerprint, KnownKey};
use crate::log::dedup::{KeyEntry, RecentKeys};
use crate::log::files::secret::LogSecret;

/// Decision about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyVerdict {
    /// The record is appended, and has claimed its key.
    New,
    /// The event at `first` has the key, and the same content.
    Duplicate { first: Position },
    /// The event at `first` has the key, and other content. The record is appended as well, and has claimed `digest`,
    /// the digest of its content.
    Conflict { first: Position, digest: Digest },
    /// Like [`Self::Conflict`], but a record with the same content is stored already.
    KnownConflict { first: Position },
    /// `first` has the key. Undecided until its content is read, or until the runs are asked for a conflict with it.
    Undecided { first: KeyEntry },
}

/// Applies the record that would be at `next`. `may_stamp` is the error if no new record may have the present time.
/// Then no key is claimed, but duplicates are still found.
pub fn apply<E>(
    recent: &mut RecentKeys,
    secret: &LogSecret,
    claim: Claim,
    known: KnownKey,
    next: Position,
    may_stamp: Result<(), E>,
) -> Result<KeyVerdict, E> {
    if claim.digest == Digest::NONE {
        return may_stamp.map(|()| KeyVerdict::New);
    }
    let Some(entry) = first_of(recent, claim.digest, known) else {
        may_stamp?;
        recent.claim(claim, next);
        return Ok(KeyVerdict::New);
    };
    let KeyEntry { position: first, fingerprint, .. } = entry;
    if fingerprint == claim.fingerprint {
        return Ok(KeyVerdict::Duplicate { first });
    }
    // The runs know only the conflicts with the entry that is the first for them. If a run was lost, only memory may
    // know the first.
    let is_first_in_runs = known.first.is_some_and(|known| known.position == first);
    if fingerprint == Fingerprint::UNKNOWN || (!is_first_in_runs && first < known.through) {
        return Ok(KeyVerdict::Undecided { first: entry });
    }
    let conflict = Claim { digest: Digest::of_conflict(secret, first, claim.fingerprint), ..claim };
    if (is_first_in_runs && known.has_conflict) || recent.find(conflict.digest).is_some() {
        return Ok(KeyVerdict::KnownConflict { first });
    }
    may_stamp?;
    recent.claim(conflict, next);
    Ok(KeyVerdict::Conflict { first, digest: conflict.digest })
}

/// Returns the first entry with a key, in memory or in the runs: the lowest position, with the fingerprint if either
/// knows it.
fn first_of(recent: &RecentKeys, digest: Digest, known: KnownKey) -> Option<KeyEntry> {
    let found = recent.find(digest).into_iter().chain(known.first);
    found.min_by_key(|entry| (entry.position, entry.fingerprint == Fingerprint::UNKNOWN))
}
