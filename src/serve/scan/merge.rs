//! Merge of several runs, each in the order of ids, into one. Knows nothing of the items except their ids.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::fold::Id;

pub struct Merge<T, I> {
    runs: Vec<I>,
    /// Id of the next item of each run that has one, the smallest id on top.
    heads: BinaryHeap<Reverse<(Id, usize)>>,
    waiting: Vec<Option<(Id, T)>>,
}

impl<T, I: Iterator<Item = (Id, T)>> Merge<T, I> {
    pub fn new(runs: impl Iterator<Item = I>) -> Self {
        let runs: Vec<I> = runs.collect();
        let waiting = runs.iter().map(|_| None).collect();
        let mut merge = Self { runs, heads: BinaryHeap::new(), waiting };
        for run in 0..merge.runs.len() {
            merge.draw(run);
        }
        merge
    }

    fn draw(&mut self, run: usize) -> Option<(Id, T)> {
        let next = self.runs.get_mut(run)?.next();
        if let Some((id, _)) = &next {
            self.heads.push(Reverse((id.clone(), run)));
        }
        std::mem::replace(self.waiting.get_mut(run)?, next)
    }
}

impl<T, I: Iterator<Item = (Id, T)>> Iterator for Merge<T, I> {
    type Item = (Id, T);

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((_, run)) = self.heads.pop()?;
        self.draw(run)
    }
}
