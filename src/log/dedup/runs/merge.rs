//! Merges adjacent runs into one, entry by entry. Leaves its inputs unchanged, and does not decide which runs to merge.

use std::path::Path;
use std::sync::Arc;

use super::header::RunHeader;
use super::run::{DedupRun, DedupRunError, RunEntries};
use super::writer::{RunWriter, WriteRunError};
use crate::log::dedup::key::KeyEntry;
use crate::storage::Pace;

/// Reason why runs were not merged. The inputs are unchanged.
#[derive(Debug, thiserror::Error)]
pub(in crate::log) enum MergeError {
    /// The runs do not follow one another, or are not of one kind.
    #[error("dedup runs cannot be merged: {0}")]
    Apart(&'static str),
    #[error("a dedup run cannot be merged")]
    Input(#[from] DedupRunError),
    #[error("the merged dedup run cannot be written")]
    Write(#[from] WriteRunError),
}

/// Writes one run with all keys of adjacent runs, which must be in order. The run is durable and verified when this
/// returns.
pub(in crate::log) fn merge(
    directory: &Path,
    inputs: &[Arc<DedupRun>],
    pace: &mut dyn Pace,
) -> Result<DedupRun, MergeError> {
    let header = merged_header(inputs)?;
    let mut sources = Vec::with_capacity(inputs.len());
    for input in inputs {
        sources.extend(MergeSource::of(input.entries())?);
    }
    let mut writer = RunWriter::create(directory, header, pace)?;
    let mut last = None;
    while let Some(entry) = take_lowest(&mut sources)? {
        // The entry before it has the lower position.
        if last != Some(entry.digest) {
            writer.push(entry)?;
        }
        last = Some(entry.digest);
    }
    Ok(writer.finish()?)
}

fn merged_header(inputs: &[Arc<DedupRun>]) -> Result<RunHeader, MergeError> {
    let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
        return Err(MergeError::Apart("there are none"));
    };
    for pair in inputs.windows(2) {
        let one = pair[0].header();
        let next = pair[1].header();
        if one.head.position != next.after {
            return Err(MergeError::Apart("a run does not begin where the run before it ends"));
        }
        if one.origin != next.origin || one.fingerprint_version != next.fingerprint_version {
            return Err(MergeError::Apart("the runs differ in their origin or their version of fingerprints"));
        }
    }
    Ok(RunHeader { after: first.header().after, ..*last.header() })
}

/// Remaining entries of a run.
struct MergeSource<'a> {
    next: KeyEntry,
    rest: RunEntries<'a>,
}

impl<'a> MergeSource<'a> {
    /// Takes the first entry. `None` if no entry is left.
    fn of(mut rest: RunEntries<'a>) -> Result<Option<Self>, DedupRunError> {
        Ok(rest.next().transpose()?.map(|next| Self { next, rest }))
    }
}

/// Takes the entry with the lowest digest. Among equal digests, takes the one with the lowest position.
fn take_lowest(sources: &mut Vec<MergeSource<'_>>) -> Result<Option<KeyEntry>, DedupRunError> {
    let lowest = sources.iter_mut().enumerate().min_by_key(|(_, source)| (source.next.digest, source.next.position));
    let Some((number, source)) = lowest else { return Ok(None) };
    let entry = source.next;
    match source.rest.next().transpose()? {
        Some(next) => source.next = next,
        None => drop(sources.swap_remove(number)),
    }
    Ok(Some(entry))
}
