//! The index as the runs on the disk have it: all of them that are whole and join up from the log's first event on.

use super::super::store::{Store, StoreError};
use super::super::{Head, OpenError};
use super::DedupIndex;
use super::run::Run;
use crate::token::Identity;

/// Fills the index, and returns how far the runs go: from the event after that on, the log must be read.
///
/// A run that cannot be used is told, and removed with all after it: they are written again as the log is read.
pub(in crate::log) fn load(
    store: &dyn Store,
    identity: Identity,
    genesis: Head,
    index: &DedupIndex,
) -> Result<Head, OpenError> {
    let mut reached = genesis;
    let names = store.runs()?;
    for (at, name) in names.iter().enumerate() {
        match usable(store, *name, identity, &reached)? {
            Ok(run) => {
                if at == 0 {
                    index.reserve(run.claims.len() * names.len());
                }
                for (digest, position) in run.claims {
                    index.claim(digest, position);
                }
                reached = run.head;
            }
            Err(reason) => {
                tracing::warn!(through = name, reason, "a dedup run cannot be used: the log is read from there");
                names[at..].iter().try_for_each(|name| store.remove_run(*name))?;
                break;
            }
        }
    }
    Ok(reached)
}

/// The run of this name, if it goes on where the last one ended; else why not.
fn usable(
    store: &dyn Store,
    name: u64,
    identity: Identity,
    reached: &Head,
) -> Result<Result<Run, &'static str>, StoreError> {
    Ok(match Run::decode(&store.run(name)?) {
        Err(garbled) => Err(garbled.0),
        Ok(run) if run.identity != identity => Err("it is of another log, or of another epoch"),
        Ok(run) if run.after != reached.position => Err("the one before it is missing"),
        Ok(run) if run.head.position <= run.after => Err("it ends before it begins"),
        Ok(run) => Ok(run),
    })
}
