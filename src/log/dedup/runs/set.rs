//! Runs of a log as an immutable set: a change makes another set, and a look-up keeps the set that it started with.
//! Writes and removes no file.

use std::sync::Arc;

use super::run::{DedupRun, DedupRunError};
use super::span::Span;
use crate::event::Position;
use crate::log::dedup::key::{Digest, KeyEntry};

/// Overlap of a new run with a run in the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the dedup run {new} overlaps with {existing}")]
pub(in crate::log) struct Overlap {
    pub new: Span,
    pub existing: Span,
}

/// Runs that do not overlap, ascending, with or without gaps between them.
#[derive(Debug, Clone, Default)]
pub(in crate::log) struct RunSet {
    runs: Vec<Arc<DedupRun>>,
}

impl RunSet {
    pub fn runs(&self) -> &[Arc<DedupRun>] {
        &self.runs
    }

    /// Returns the last position that a run covers. 0 if there are no runs.
    pub fn through(&self) -> Position {
        self.runs.last().map_or(0, |run| run.span().through)
    }

    /// Looks a digest up. Asks the run with the lower positions first, so the first record of a key is found even if
    /// another record has the key, too. An error names the run that cannot be read: its keys are not known.
    pub fn find(&self, digest: Digest) -> Result<Option<KeyEntry>, DedupRunError> {
        self.runs.iter().find_map(|run| run.find(digest).transpose()).transpose()
    }

    /// Asks the filters, which are in memory. Never false for a digest that is present.
    pub fn may_contain(&self, digest: Digest) -> bool {
        self.runs.iter().any(|run| run.may_contain(digest))
    }

    /// Returns the set with one more run.
    pub fn with(&self, run: Arc<DedupRun>) -> Result<Self, Overlap> {
        let mut runs = self.runs.clone();
        if let Some(existing) = runs.iter().find(|existing| existing.span().overlaps(run.span())) {
            return Err(Overlap { new: run.span(), existing: existing.span() });
        }
        let at = runs.partition_point(|existing| existing.span() < run.span());
        runs.insert(at, run);
        Ok(Self { runs })
    }

    /// Returns the set with `run` in place of the runs that it covers.
    pub fn with_merged(&self, run: Arc<DedupRun>) -> Result<Self, Overlap> {
        let left = self.runs.iter().filter(|existing| !run.span().covers(existing.span()));
        Self { runs: left.cloned().collect() }.with(run)
    }

    /// Returns whether the set has this very run, and not another one in its place.
    pub fn has(&self, run: &Arc<DedupRun>) -> bool {
        self.runs.iter().any(|existing| Arc::ptr_eq(existing, run))
    }

    /// Returns the set without a run.
    pub fn without(&self, run: &Arc<DedupRun>) -> Self {
        let left = self.runs.iter().filter(|existing| !Arc::ptr_eq(existing, run));
        Self { runs: left.cloned().collect() }
    }

    /// Returns the ranges that no run covers, from the first position to `through`, ascending.
    pub fn gaps(&self, through: Position) -> Vec<Span> {
        let mut gaps = Vec::new();
        let mut after = 0;
        for span in self.runs.iter().map(|run| run.span()) {
            gaps.push(Span { after, through: span.after.min(through) });
            after = span.through;
        }
        gaps.push(Span { after, through });
        gaps.retain(|gap| gap.after < gap.through);
        gaps
    }

    /// Returns whether runs hold all keys of a span.
    pub fn covers(&self, span: Span) -> bool {
        let from = self.runs.partition_point(|run| run.span().through <= span.after);
        let mut reached = span.after;
        for run in self.runs[from..].iter().map(|run| run.span()) {
            if run.after > reached {
                return false;
            }
            reached = run.through;
            if reached >= span.through {
                return true;
            }
        }
        false
    }

    pub fn memory_bytes(&self) -> usize {
        self.runs.iter().map(|run| run.memory_bytes()).sum()
    }

    pub fn keys(&self) -> u64 {
        self.runs.iter().map(|run| run.keys()).sum()
    }
}
