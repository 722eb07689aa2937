//! Descent of the generations from each other, and so the logs in which a token is valid.

use super::history::{Bookmark, History};

impl History {
    /// Returns the generation, the one it is a copy of, and so on, each with the last position of the common history.
    fn ancestry(&self, generation: usize) -> Vec<(usize, u64)> {
        let (mut last, mut until) = (generation, u64::MAX);
        let mut all = vec![(last, until)];
        while let Some((parent, shared)) = self.generations[last].copy_of {
            (last, until) = (parent, until.min(shared));
            all.push((last, until));
        }
        all
    }

    /// Whether both generations descend from the same log.
    pub fn same_log(&self, one: usize, other: usize) -> bool {
        let root = |generation| self.ancestry(generation).last().map(|(root, _)| *root);
        root(one) == root(other)
    }

    /// Whether the history up to a bookmark's position is in this generation, too.
    pub fn leads(&self, bookmark: &Bookmark, generation: usize) -> bool {
        let (theirs, ours) = (self.ancestry(bookmark.generation), self.ancestry(generation));
        let common = |(root, until): &(usize, u64)| {
            let same = ours.iter().find(|(other, _)| other == root);
            same.map(|(_, other)| *until.min(other))
        };
        theirs.iter().find_map(common).is_some_and(|until| bookmark.position <= until)
    }
}
