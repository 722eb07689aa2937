//! Leaves whose blocks grew are written again, many one after another, so that sled can reuse what lies around them.
//!
//! A block that grows leaves its earlier selves behind, and sled reuses a segment (512 KiB) only when half of it is such
//! waste: what is kept ends up spread over segments that are half waste, twice its size. Written again in one go it fills
//! segments of its own, 1.4 times its size, and all that was around it is free. Knows sled's rules, not its API.

use std::collections::VecDeque;

use crate::event::Position;

/// So many leaves of two blocks fill some twelve segments: at the ends of such a run old and new are mixed again.
const LEAVES: usize = 500;
/// With one batch: what comes between, mostly waste soon, is little then.
const LEAVES_A_BATCH: usize = 64;
/// Between two syncs: with what sled moves on such an occasion, 240 KiB at most.
pub const LEAVES_A_SYNC: usize = 4;
/// No larger batch gets a share, so that both stay below 512 KiB.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Leaves that nothing new comes into, by where they begin. A restart forgets them: they only take more space then.
#[derive(Default)]
pub struct Resettling {
    left: VecDeque<Position>,
    going: bool,
}

impl Resettling {
    pub fn left(&mut self, leaf: Position) {
        self.left.push_back(leaf);
    }

    /// Those to write again after a batch of so many bytes.
    pub fn next(&mut self, batch_bytes: usize) -> Vec<Position> {
        self.going |= self.left.len() >= LEAVES;
        let share = if self.going && batch_bytes <= BATCH_BYTES_MAX { LEAVES_A_BATCH } else { 0 };
        let next = self.left.drain(..share.min(self.left.len())).collect();
        self.going &= !self.left.is_empty();
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_written_again_in_one_go_a_few_with_each_small_batch() {
        let mut resettling = Resettling::default();
        (1..LEAVES as u64).for_each(|leaf| resettling.left(leaf));
        assert!(resettling.next(1000).is_empty());
        resettling.left(LEAVES as u64);
        assert!(resettling.next(BATCH_BYTES_MAX + 1).is_empty());
        let mut again: Vec<Position> = Vec::new();
        while again.len() < LEAVES {
            let share = resettling.next(1000);
            assert!((1..=LEAVES_A_BATCH).contains(&share.len()));
            again.extend(share);
        }
        assert!(again.into_iter().eq(1..=LEAVES as u64));
        resettling.left(LEAVES as u64 + 1);
        assert!(resettling.next(1000).is_empty());
    }
}
