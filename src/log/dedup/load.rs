//! The index as the saved runs have it: all of them that are whole and join up from the log's first event on.
//!
//! Knows nothing of the log, so that it can be loaded while that is being opened.

use std::io;
use std::mem;

use super::super::{Head, OpenError};
use super::run::{Run, RunOrigin, UnusableRun};
use super::{DedupIndex, Digest, RunStore};
use crate::blocklog::StoreError;
use crate::event::Position;

/// 50 MB of them: thousands for each shard.
const CLAIMS_AT_ONCE: usize = 2 * 1024 * 1024;

/// What the runs know.
pub(in crate::log) struct Known {
    pub index: DedupIndex,
    /// Where they come from, and how far they go. `None` if there are none.
    pub reached: Option<(RunOrigin, Head)>,
    /// The last claim of them. `None` if there is none.
    pub newest: Option<(Digest, Position)>,
    /// Runs that cannot be used: they go once the log was checked.
    pub unusable: Vec<Position>,
}

impl Known {
    /// Nothing.
    pub fn nothing() -> Self {
        Self { index: DedupIndex::new(), reached: None, newest: None, unusable: Vec::new() }
    }

    /// The same, if the runs come from there. Otherwise they are removed.
    pub fn of(self, origin: RunOrigin, runs: &dyn RunStore) -> io::Result<Self> {
        self.unusable.iter().try_for_each(|name| runs.remove(*name))?;
        if self.reached.is_none_or(|(found, _)| found == origin) {
            return Ok(self);
        }
        tracing::warn!("the dedup runs are of another epoch or another log secret: all of the log is read");
        runs.list()?.into_iter().try_for_each(|name| runs.remove(name))?;
        Ok(Self::nothing())
    }
}

/// Loads the runs as far as they can be used. The first that cannot is logged, and goes with all after it: they are
/// written again as the log is read. A newer one is refused.
pub(in crate::log) fn load(runs: &dyn RunStore) -> Result<Known, OpenError> {
    let Known { index, mut reached, mut newest, mut unusable } = Known::nothing();
    let failed = |error: io::Error| StoreError::new("read the dedup runs", error);
    let names = runs.list().map_err(failed)?;
    let mut claims = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let bytes = runs.read(*name).map_err(|_| UnusableRun::Damaged("it cannot be read"));
        match bytes.and_then(|bytes| usable(&bytes, reached)) {
            Ok(run) => {
                if at == 0 {
                    index.reserve(run.claims.len() * names.len());
                }
                reached = Some((run.origin, run.head));
                newest = run.claims.last().copied().or(newest);
                claims.extend(run.claims);
                if claims.len() >= CLAIMS_AT_ONCE {
                    index.claim_all(mem::take(&mut claims));
                }
            }
            Err(UnusableRun::Newer(format)) => {
                return Err(OpenError::Newer { what: format!("the dedup run through {name}"), format: format.into() });
            }
            Err(UnusableRun::Damaged(reason)) => {
                tracing::warn!(through = name, reason, "a dedup run cannot be used: the log is read from there");
                unusable.extend(&names[at..]);
                break;
            }
        }
    }
    index.claim_all(claims);
    Ok(Known { index, reached, newest, unusable })
}

/// The run, if it goes on where the last one ended; else why not.
fn usable(bytes: &[u8], reached: Option<(RunOrigin, Head)>) -> Result<Run, UnusableRun> {
    let run = Run::decode(bytes)?;
    if reached.is_some_and(|(origin, _)| origin != run.origin) {
        return Err(UnusableRun::Damaged("it comes from elsewhere than the one before it"));
    }
    if run.after != reached.map_or(0, |(_, head)| head.position) {
        return Err(UnusableRun::Damaged("the one before it is missing"));
    }
    if run.head.position <= run.after {
        return Err(UnusableRun::Damaged("it ends before it begins"));
    }
    Ok(run)
}
