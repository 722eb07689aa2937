//! The allowed outcomes of each fault, as `docs/operations.md` has them, and how often each fault is tried.

use super::harm::{Harm, Kind, Left};

/// Outcome of a start over a damaged directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The daemon does not start, says why, and has changed nothing.
    Refused,
    /// The door is open, and the events that cannot be read are named.
    Damaged,
    /// Everything is there, and the daemon has logged its repairs.
    Repaired,
    /// Everything is there, and the daemon has nothing to log.
    Harmless,
}

const REFUSED: &[Outcome] = &[Outcome::Refused];
const DAMAGED: &[Outcome] = &[Outcome::Damaged];
const REPAIRED: &[Outcome] = &[Outcome::Repaired];
const HARMLESS: &[Outcome] = &[Outcome::Harmless];
const WHOLE: &[Outcome] = &[Outcome::Repaired, Outcome::Harmless];
const OPEN: &[Outcome] = &[Outcome::Damaged, Outcome::Repaired, Outcome::Harmless];

/// Returns the allowed outcomes. `left` is for a fault in a journal: the frames that are left.
pub fn expected(kind: Kind, harm: Harm, left: Option<Left>) -> &'static [Outcome] {
    if let Some(left) = left {
        return of_journal(kind, harm, left);
    }
    match (kind, harm) {
        // Another log's name, epochs, witness or segment, or a file that has seen more than the log has.
        (
            Kind::Cleat | Kind::Epochs | Kind::Witness | Kind::Checkpoint | Kind::SegmentHeader | Kind::ViewsPart,
            Harm::Other,
        )
        | (Kind::LogPart, _) => REFUSED,
        // An older copy of a file that never changes is the same.
        (Kind::Cleat | Kind::Epochs | Kind::Secret, Harm::Older) | (Kind::JournalSled | Kind::BlankJournal, _) => {
            HARMLESS
        }
        (Kind::Cleat | Kind::Epochs | Kind::Secret, _) | (Kind::SegmentFooter, Harm::Flip | Harm::Cut) => REPAIRED,
        (Kind::Witness | Kind::Run | Kind::Checkpoint | Kind::Changes | Kind::DedupPart | Kind::ViewsPart, _) => WHOLE,
        (Kind::SegmentHeader | Kind::SegmentFrame, Harm::Flip | Harm::Zeros | Harm::Cut)
        | (Kind::SegmentHeader, Harm::Emptied | Harm::Deleted)
        | (Kind::ClosedJournal, Harm::Emptied | Harm::Deleted | Harm::Older) => DAMAGED,
        (Kind::SegmentHeader | Kind::SegmentFrame | Kind::SegmentFooter, _) => OPEN,
        (Kind::LastJournal | Kind::ClosedJournal, _) => REFUSED,
    }
}

/// Returns the allowed outcomes of a fault in a journal.
fn of_journal(kind: Kind, harm: Harm, left: Left) -> &'static [Outcome] {
    match (kind, left) {
        // The harm has missed a copy: no outcome is allowed.
        (_, Left::All) if matches!(harm, Harm::EachCopy | Harm::Beginning) => &[],
        (_, Left::All) => HARMLESS,
        // Frames lost at the beginning of the last journal may be those of another journal. Any other loss in it is
        // refused, because no journal follows.
        (Kind::ClosedJournal, _) | (_, Left::End) => DAMAGED,
        (_, Left::Other) => REFUSED,
    }
}

/// Returns the cases, each as often as it is tried.
pub fn cases() -> Vec<(Kind, Harm)> {
    use Harm::{Beginning, Cut, Deleted, EachCopy, Emptied, Flip, Inner, Longer, Older, Other, Zeros};
    let file = |flips, cuts| vec![(Flip, flips), (Cut, cuts), (Emptied, 1), (Deleted, 1), (Other, 1), (Older, 1)];
    let several = |flips, cuts| vec![(Flip, flips), (Cut, cuts), (Emptied, 2), (Deleted, 2), (Other, 3), (Older, 1)];
    let part = || vec![(Deleted, 1), (Other, 1), (Older, 1)];
    let journal = |flips| {
        let single = [(Emptied, 1), (Deleted, 1), (Other, 1), (Longer, 1), (Inner, 1), (Older, 1)];
        [(Flip, flips), (EachCopy, 20), (Beginning, 1), (Zeros, 8), (Cut, 8)].into_iter().chain(single).collect()
    };
    let table: Vec<(Kind, Vec<(Harm, usize)>)> = vec![
        (Kind::Cleat, file(12, 4)),
        (Kind::Epochs, file(12, 4)),
        (Kind::Secret, file(14, 4)),
        (Kind::Witness, file(20, 4)),
        (Kind::SegmentHeader, several(14, 4)),
        (Kind::SegmentFrame, vec![(Flip, 50), (Zeros, 6), (Cut, 6)]),
        (Kind::SegmentFooter, vec![(Flip, 20), (Zeros, 2), (Cut, 4)]),
        (Kind::LastJournal, journal(80)),
        (Kind::ClosedJournal, journal(70)),
        (Kind::BlankJournal, vec![(Flip, 4), (Cut, 2), (Emptied, 1), (Deleted, 1)]),
        (Kind::JournalSled, vec![(Flip, 6), (Cut, 2), (Emptied, 2), (Deleted, 2)]),
        (Kind::Run, several(30, 6)),
        (Kind::Checkpoint, several(30, 8)),
        (Kind::Changes, vec![(Flip, 40), (Zeros, 4), (Cut, 6), (Emptied, 4), (Deleted, 4), (Other, 3), (Older, 3)]),
        (Kind::LogPart, part()),
        (Kind::DedupPart, part()),
        (Kind::ViewsPart, part()),
    ];
    let repeated = |(kind, harms): (Kind, Vec<(Harm, usize)>)| {
        harms.into_iter().flat_map(move |(harm, count)| std::iter::repeat_n((kind, harm), count))
    };
    table.into_iter().flat_map(repeated).collect()
}
