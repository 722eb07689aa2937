//! The index as the saved runs have it: all of them that are whole and join up from the log's first event on.
//!
//! Knows nothing of the log, so that it can be loaded while that is being opened.

use std::io;
use std::mem;

use super::super::Head;
use super::run::Run;
use super::{DedupIndex, RunStore};
use crate::token::Identity;

/// 50 MB of them: thousands for each shard.
const CLAIMS_AT_ONCE: usize = 2 * 1024 * 1024;

/// What the runs know.
pub(in crate::log) struct Known {
    pub index: DedupIndex,
    /// Of which log, and how far they go; None: there are none.
    pub reached: Option<(Identity, Head)>,
}

impl Known {
    /// Nothing.
    pub fn nothing() -> Self {
        Self { index: DedupIndex::new(), reached: None }
    }

    /// What is known of this log. Runs of another one, or of another epoch, go.
    pub fn of(self, identity: Identity, runs: &dyn RunStore) -> io::Result<Self> {
        if self.reached.is_none_or(|(of, _)| of == identity) {
            return Ok(self);
        }
        tracing::warn!("the dedup runs are of another log, or of another epoch: all of the log is read");
        runs.list()?.into_iter().try_for_each(|name| runs.remove(name))?;
        Ok(Self::nothing())
    }
}

/// Loads the runs as far as they can be used. The first that cannot is told, and removed with all after it: they are
/// written again as the log is read.
pub(in crate::log) fn load(runs: &dyn RunStore) -> io::Result<Known> {
    let Known { index, mut reached } = Known::nothing();
    let names = runs.list()?;
    let mut claims = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let bytes = runs.read(*name).map_err(|_| "it cannot be read");
        match bytes.and_then(|bytes| usable(&bytes, reached)) {
            Ok(run) => {
                if at == 0 {
                    index.reserve(run.claims.len() * names.len());
                }
                reached = Some((run.identity, run.head));
                claims.extend(run.claims);
                if claims.len() >= CLAIMS_AT_ONCE {
                    index.claim_all(mem::take(&mut claims));
                }
            }
            Err(reason) => {
                tracing::warn!(through = name, reason, "a dedup run cannot be used: the log is read from there");
                names[at..].iter().try_for_each(|name| runs.remove(*name))?;
                break;
            }
        }
    }
    index.claim_all(claims);
    Ok(Known { index, reached })
}

/// The run, if it goes on where the last one ended; else why not.
fn usable(bytes: &[u8], reached: Option<(Identity, Head)>) -> Result<Run, &'static str> {
    let run = Run::decode(bytes).map_err(|garbled| garbled.0)?;
    if reached.is_some_and(|(identity, _)| identity != run.identity) {
        return Err("it is of another log, or of another epoch");
    }
    if run.after != reached.map_or(0, |(_, head)| head.position) {
        return Err("the one before it is missing");
    }
    if run.head.position <= run.after {
        return Err("it ends before it begins");
    }
    Ok(run)
}
