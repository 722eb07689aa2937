//! Access to journals for the fuzzer. Not an interface: it changes with the format. Kept apart: nothing else uses it.

use std::path::Path;

use super::files::JournalFiles;
use super::recovery::recover;
use super::value::{JournalFrame, JournalKey, encode};
use crate::segment::Frame;

/// Returns the values of a frame in the order in which they are put. `None` if it is refused.
pub fn journal_values(frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let count = Frame::decode(frame).ok()?.header.count as usize;
    let key = JournalKey { digest: [9; 16], fingerprint: [8; 8] };
    let stored = JournalFrame { generation: 1, frame: frame.to_vec().into(), keys: vec![key; count] };
    Some(encode(&stored).ok()?.into_iter().map(|(_, value)| value).collect())
}

/// Returns the frames of a journal whose file has these bytes. The directory must be empty, or come from an earlier
/// call.
pub fn recovered(log_directory: &Path, db: &[u8]) -> std::io::Result<Vec<Vec<u8>>> {
    let files = JournalFiles::of(log_directory, 1);
    std::fs::create_dir_all(files.path())?;
    std::fs::write(files.db(), db)?;
    let recovered = recover(log_directory, 1).map_err(std::io::Error::other)?;
    let mut frames = Vec::new();
    let mut reached = 0;
    while let Some(next) = recovered.next_after(reached) {
        let found = recovered.follow(next - 1, None);
        frames.extend(found.frames.into_iter().map(|frame| frame.frame.to_vec()));
        reached = found.reached.max(next);
    }
    Ok(frames)
}
