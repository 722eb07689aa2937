//! Fences: empty entries that make sled split its last leaf before values come into it. Knows sled's rules, not its API.
//!
//! sled (0.34.7) keeps up to 16 entries in a leaf. The 17th splits it, 9 left and 8 right, and both halves are written
//! again; ten changes to a leaf write it again too. With 6 KiB values that wrote every byte 4.8 times and left a file of
//! 1.65 times its contents. So the leaf is split while it is empty: one range of positions after another gets a leaf of
//! its own, bounded by fences that cost a few bytes, and takes no more values than it can as single changes. Measured:
//! written about 1.1 times, a file of 1.09 times its contents at 150 events a commit, and a commit in half the time.
//!
//! ```text
//!   leaf of [B, C):  8 fences at B │ about 6 values │ 1 fence at C-1 ‖ leaf of [C, ..): 8 fences at C
//! ```
//!
//! The ninth fence stands right below C, since sled cuts the key that divides two leaves as short as it can. Fences mean
//! nothing to readers, which step over them; where the guess of C is wrong, sled only works as it does without them.

use super::block::{Entry, Key};
use crate::event::Position;

/// Blocks have far fewer chunks: a record's bytes are limited.
const FENCE_CHUNK: u16 = 0xff00;
/// On each side of a boundary: with one more, the seventeen that make sled split.
const SIDE: u16 = 8;
/// Aimed at. With the nine fences seven are no more than 16 entries and under ten changes; one is left for commits that end in a
/// small block.
const VALUES_PER_LEAF: u64 = 6;
/// Where blocks grow, each into ten or more changes: sled writes the leaf again after every ten.
const GROWING_VALUES_PER_LEAF: u64 = 2;

/// After blocks grew, sled may move a page at each split, to reuse the segment where it was: for so many leaves.
const WASTE_LEAVES: u32 = 64;
/// Changes to a leaf after which sled has written it again.
const REWRITTEN_AFTER: u8 = 10;

pub fn is_fence(key: Key) -> bool {
    key.chunk >= FENCE_CHUNK
}

/// Values to put, one after another, so that sled writes a leaf again.
pub fn rewriting(leaf: Position) -> impl Iterator<Item = (Key, [u8; 1])> {
    (0..REWRITTEN_AFTER).map(move |n| (Key { first: leaf, chunk: FENCE_CHUNK }, [n]))
}

/// Where the last leaf begins, and how far apart blocks come.
pub struct Fences {
    boundary: Position,
    /// Where the leaf of the last block begins, if that is known.
    leaf: Option<Position>,
    last: Position,
    /// Whether a block of that leaf grew.
    grows: bool,
    /// The leaves left behind in which one did.
    pub grown: Vec<Position>,
    waste: u32,
    /// Positions a block, averaged, in eighths.
    gap: u64,
}

impl Fences {
    /// For a store whose greatest key is this.
    pub fn resume(greatest: Option<Key>) -> Self {
        let boundary = greatest.filter(|key| is_fence(*key)).map_or(0, |key| key.first);
        Self { boundary, leaf: None, last: 0, grows: false, grown: Vec::new(), waste: WASTE_LEAVES, gap: 8 }
    }

    /// Whether sled may have pages to move.
    pub fn moves_pages(&self) -> bool {
        self.waste > 0
    }

    /// What to put, in this order, before these entries.
    pub fn before(&mut self, puts: &[Entry]) -> Vec<Key> {
        let mut fences = Vec::new();
        for (key, _) in puts {
            self.grows |= key.chunk == 0 && key.first == self.last && self.last > 0;
            if key.chunk != 0 || key.first <= self.last {
                continue;
            }
            if self.last > 0 {
                self.gap = (self.gap * 7).div_ceil(8) + (key.first - self.last).min(u64::from(u16::MAX));
            }
            self.last = key.first;
            if key.first >= self.boundary {
                self.enclose(key.first, &mut fences);
            }
        }
        fences
    }

    /// Makes the next leaf begin some values after `first`.
    fn enclose(&mut self, first: Position, fences: &mut Vec<Key>) {
        self.waste = if self.grows { WASTE_LEAVES } else { self.waste.saturating_sub(1) };
        if self.grows {
            self.grown.extend(self.leaf);
        }
        self.leaf = Some(if self.boundary == 0 { first } else { self.boundary });
        let values = if std::mem::take(&mut self.grows) { GROWING_VALUES_PER_LEAF } else { VALUES_PER_LEAF };
        let next = first + (self.gap * values).div_ceil(8).max(2);
        let side = |position| (0..SIDE).map(move |n| Key { first: position, chunk: FENCE_CHUNK + n });
        if self.boundary == 0 {
            fences.extend(side(first));
        }
        fences.push(Key { first: next - 1, chunk: FENCE_CHUNK + SIDE });
        fences.extend(side(next));
        self.boundary = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(firsts: impl Iterator<Item = u64>) -> Vec<Entry> {
        firsts.map(|first| (Key::block(first), Vec::new())).collect()
    }

    #[test]
    fn leaves_get_six_blocks_each_once_the_distance_of_blocks_is_known() {
        let mut fences = Fences::resume(None);
        let puts = blocks((1..=2000).map(|n| n * 30));
        let fences = fences.before(&puts);
        let boundaries: Vec<u64> = fences.iter().filter(|key| key.chunk == FENCE_CHUNK).map(|key| key.first).collect();
        let widths: Vec<u64> = boundaries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(widths.len() > 250 && widths[100..].iter().all(|width| (150..=210).contains(width)), "{widths:?}");
    }

    #[test]
    fn a_leaf_whose_blocks_grew_is_told_when_it_is_left_and_the_next_is_smaller() {
        let mut fences = Fences::resume(None);
        fences.before(&blocks((1..=200).map(|n| n * 30)));
        assert!(fences.grown.is_empty());
        let mut leaves = Vec::new();
        for n in 201..=220 {
            let new = fences.before(&blocks([n * 30, n * 30].into_iter()));
            leaves.extend(new.iter().filter(|key| key.chunk == FENCE_CHUNK).map(|key| key.first));
        }
        assert!(fences.moves_pages());
        assert!(leaves.len() >= 7, "{leaves:?}");
        assert_eq!(fences.grown[2..], leaves[..fences.grown.len() - 2]);
        fences.before(&blocks((221..=1000).map(|n| n * 30)));
        assert!(!fences.moves_pages());
    }

    #[test]
    fn replaced_blocks_and_chunks_move_nothing_and_a_restart_goes_on_at_its_boundary() {
        let mut fences = Fences::resume(None);
        let group = fences.before(&blocks(100..101));
        assert!(group.iter().all(|key| is_fence(*key)) && group.len() == 17);
        assert!(fences.before(&blocks(1..101)).is_empty());
        assert!(fences.before(&[(Key { first: 500, chunk: 3 }, Vec::new())]).is_empty());
        let greatest = group.into_iter().max();
        let mut resumed = Fences::resume(greatest);
        assert!(resumed.before(&blocks(101..102)).is_empty());
        assert_eq!(resumed.before(&blocks(200..201)).len(), 9);
    }
}
