//! A look at sled's file before sled may touch it: sled takes the first bad message of its tail for what a crash tore,
//! and overwrites the rest with zeros, be it torn or damaged. Writes nothing but the kept copy. Knows sled's file format
//! and the head witness, nothing of what the events are.
//!
//! A crash tears only what was not acknowledged. So if the chain hash of the last acknowledged event is found in what
//! sled would leave out, and nowhere else, it is damage. (By lsn alone it cannot be told: sled writes its buffers in any
//! order, and after a power cut any sector since the last fdatasync may be missing.) What a segment still holds from before
//! sled reused it does not count. Whatever else sled would overwrite is
//! first copied to `<data>/log-tail.kept`, at the same offsets.

mod replay;
mod segment;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use self::replay::Unread;
use self::segment::{SEGMENT_BYTES, is_in_message};
use super::witness::Witness;
use crate::blocklog::StoreError;

/// Of the last acknowledged event's chain hash, as the witness keeps it.
type Acknowledged = [u8; 16];

/// Err if sled's recovery would lose what was acknowledged. To be asked before each open of sled, with its snapshots
/// as they are.
pub(super) fn check(log: &Path, head: &Path) -> Result<(), StoreError> {
    let looked = look(log, head).map_err(|error| StoreError::new("look through the log's file", error))?;
    match looked {
        None => Ok(()),
        Some(at) => Err(StoreError::new(
            "open the log",
            format!(
                "its file {} is damaged at or soon after byte {at}, with acknowledged events behind it: nothing was \
                 changed; copy the data directory before anything else, then restore a backup or mend the file",
                log.join("db").display()
            ),
        )),
    }
}

/// Where the damage begins, if there is any.
fn look(log: &Path, head: &Path) -> io::Result<Option<u64>> {
    let file = match File::open(log.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let Some(snapshot) = snapshot(log)? else { return Ok(None) };
    let mut unread = replay::unread(&file, snapshot)?;
    unread.sort_by_key(|unread| unread.bytes.start);
    let mut used = Vec::new();
    for part in unread {
        if contains(&file, part.bytes.clone(), |bytes| bytes.iter().any(|byte| *byte != 0))? {
            used.push(part);
        }
    }
    let Some(first) = used.first() else { return Ok(None) };
    if let Some(acknowledged) = acknowledged(head)?
        && only_in(&file, &used, acknowledged)?
    {
        return Ok(Some(first.bytes.start));
    }
    keep(&file, &used, &log.with_file_name("log-tail.kept"))?;
    Ok(None)
}

/// The lsn that sled's snapshot ends at: its name. 0: there is none. None: sled will not take it, nor go on.
fn snapshot(log: &Path) -> io::Result<Option<u64>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(log)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let Some(name) = names.into_iter().filter(|name| name.starts_with("snap.")).max() else { return Ok(Some(0)) };
    Ok(u64::from_str_radix(&name[5..], 16).ok())
}

fn acknowledged(head: &Path) -> io::Result<Option<Acknowledged>> {
    match fs::read(head) {
        Ok(bytes) => {
            Ok(Witness::decode(&bytes).filter(|witness| witness.position > 0).map(|witness| witness.chain_prefix))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether sled would find it nowhere: it is in `unread`, sorted, and in nothing between.
fn only_in(file: &File, unread: &[Unread], acknowledged: Acknowledged) -> io::Result<bool> {
    let holds = |range: Range<u64>| contains(file, range, |bytes| found(bytes, &acknowledged).next().is_some());
    let mut lost = false;
    for part in unread {
        lost = lost || holds(part.bytes.clone())? && in_its_messages(file, part, &acknowledged)?;
    }
    let mut from = 0;
    for part in unread.iter().filter(|_| lost) {
        if holds(from..part.bytes.start)? {
            return Ok(false);
        }
        from = from.max(part.bytes.end);
    }
    Ok(lost && !holds(from..file.metadata()?.len())?)
}

/// Whether it is in what was written since the segment was last begun.
fn in_its_messages(file: &File, part: &Unread, acknowledged: &Acknowledged) -> io::Result<bool> {
    let segment = part.bytes.start / SEGMENT_BYTES * SEGMENT_BYTES;
    let mut bytes = vec![0; usize::try_from(part.bytes.end - segment).unwrap_or(0)];
    file.read_exact_at(&mut bytes, segment)?;
    let from = usize::try_from(part.bytes.start - segment).unwrap_or(0);
    Ok(found(&bytes[from..], acknowledged).any(|at| is_in_message(&bytes, from, from + at, part.number)))
}

/// Where it is.
fn found<'a>(bytes: &'a [u8], acknowledged: &'a Acknowledged) -> impl Iterator<Item = usize> + 'a {
    let windows = bytes.windows(acknowledged.len()).enumerate();
    windows.filter(move |(_, window)| *window == acknowledged).map(|(at, _)| at)
}

/// Segment by segment: nothing that is looked for reaches over the end of one.
fn contains(file: &File, range: Range<u64>, is: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
    let mut bytes = Vec::new();
    let mut from = range.start;
    while from < range.end {
        let to = range.end.min((from / SEGMENT_BYTES + 1) * SEGMENT_BYTES);
        bytes.resize(usize::try_from(to - from).unwrap_or(0), 0);
        file.read_exact_at(&mut bytes, from)?;
        if is(&bytes) {
            return Ok(true);
        }
        from = to;
    }
    Ok(false)
}

/// Copies the segments that sled will overwrite, where they are in the file, into a file of otherwise nothing.
fn keep(file: &File, unread: &[Unread], kept: &Path) -> io::Result<()> {
    let mut overwritten = unread.iter().filter(|part| part.zeroed).peekable();
    if overwritten.peek().is_none() {
        return Ok(());
    }
    let copy = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(kept)?;
    let len = file.metadata()?.len();
    let mut bytes = Vec::new();
    for part in overwritten {
        let from = part.bytes.start / SEGMENT_BYTES * SEGMENT_BYTES;
        bytes.resize(usize::try_from((len - from).min(SEGMENT_BYTES)).unwrap_or(0), 0);
        file.read_exact_at(&mut bytes, from)?;
        copy.write_all_at(&bytes, from)?;
    }
    copy.sync_all()?;
    File::open(kept.parent().unwrap_or(kept))?.sync_all()
}
