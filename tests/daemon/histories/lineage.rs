//! Which log comes of which, and so where a token may lead.

use super::history::{Bookmark, History};

impl History {
    /// Itself, what it is a copy of, and so on, each with up to where it has the same history.
    fn ancestry(&self, generation: usize) -> Vec<(usize, u64)> {
        let (mut last, mut until) = (generation, u64::MAX);
        let mut all = vec![(last, until)];
        while let Some((parent, shared)) = self.generations[last].copy_of {
            (last, until) = (parent, until.min(shared));
            all.push((last, until));
        }
        all
    }

    /// Whether both come of the same.
    pub fn same_log(&self, one: usize, other: usize) -> bool {
        let root = |generation| self.ancestry(generation).last().map(|(root, _)| *root);
        root(one) == root(other)
    }

    /// Whether all up to a bookmark's place is in this generation, too.
    pub fn leads(&self, bookmark: &Bookmark, generation: usize) -> bool {
        let (theirs, ours) = (self.ancestry(bookmark.generation), self.ancestry(generation));
        let common = |(root, until): &(usize, u64)| {
            let same = ours.iter().find(|(other, _)| other == root);
            same.map(|(_, other)| *until.min(other))
        };
        theirs.iter().find_map(common).is_some_and(|until| bookmark.position <= until)
    }
}
