//! Directories of journals and the files in them: their names, how they become durable, and how they are removed. Knows
//! nothing of their content.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, Mode, OFlags, fadvise, open};

use crate::storage::Pace;

const PREFIX: &str = "journal-";
/// Suffix of a journal that is being removed.
const GONE: &str = ".gone";
/// Suffix of a journal that is kept for repair by hand.
const ASIDE: &str = ".aside";
const DIGITS: usize = 20;
/// Number of bytes by which a file is shortened at a time. The blocks of a large file would all be freed in one step of
/// the file system, for which every sync waits.
const SHORTENED_BYTES: u64 = 4 * 1024 * 1024;

/// The files of one journal.
#[derive(Debug, Clone)]
pub struct JournalFiles(PathBuf);

impl JournalFiles {
    pub fn of(log_directory: &Path, sequence: u64) -> Self {
        Self(log_directory.join(name(sequence)))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn db(&self) -> PathBuf {
        self.0.join("db")
    }

    fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }

    /// Syncs all files, the directory, and the directory that names it: sled syncs nothing at creation.
    pub fn sync(&self) -> io::Result<()> {
        self.regular()?.iter().try_for_each(|path| sync(path))?;
        sync(&self.blobs())?;
        sync(&self.0)?;
        self.0.parent().map_or(Ok(()), sync)
    }

    /// Fails if `blobs` holds anything. sled writes values into it that are too large for its pages, and never syncs
    /// them.
    pub fn refuse_blobs(&self) -> io::Result<()> {
        match fs::read_dir(self.blobs())?.count() {
            0 => Ok(()),
            count => {
                Err(io::Error::other(format!("{} holds {count} files that no sync covers", self.blobs().display())))
            }
        }
    }

    /// Drops the files from the page cache. After a failed write it may hold, as clean, bytes that the disk never took.
    /// Read from there, they would be taken for durable.
    pub fn forget_cached(&self) -> io::Result<()> {
        for path in self.regular()? {
            let file = File::open(path)?;
            match file.sync_all() {
                // Nothing can wait to be written there.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::InvalidInput) => {}
                synced => synced?,
            }
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }

    /// Returns the regular files, so that no link is followed.
    fn regular(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}

/// Returns the sequences of the journals that are there, ascending. Ignores every other name.
pub fn list(log_directory: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(log_directory)? {
        found.extend(entry?.file_name().to_str().and_then(sequence));
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes a journal, so that after a crash it is there whole or not at all. It may be gone already.
pub fn remove(log_directory: &Path, sequence: u64, pace: &mut dyn Pace) -> io::Result<()> {
    let name = name(sequence);
    let gone = log_directory.join(format!("{name}{GONE}"));
    // An earlier try may have left a part.
    ignore_missing(fs::remove_dir_all(&gone))?;
    ignore_missing(fs::rename(log_directory.join(name), &gone))?;
    sync(log_directory)?;
    if pace.is_slow()
        && let Err(error) = shorten(&JournalFiles(gone.clone()).db(), pace)
    {
        tracing::debug!(%error, "a journal cannot be shortened before it is removed");
    }
    ignore_missing(fs::remove_dir_all(gone))?;
    sync(log_directory)
}

/// Empties a file step by step, unless it has another name, too: that may be a user's copy.
fn shorten(path: &Path, pace: &mut dyn Pace) -> io::Result<()> {
    let file = open(path, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let file = File::from(file);
    let metadata = file.metadata()?;
    let mut bytes = if metadata.nlink() == 1 { metadata.len() } else { 0 };
    while bytes > 0 && pace.is_slow() {
        bytes = bytes.saturating_sub(SHORTENED_BYTES);
        file.set_len(bytes)?;
        file.sync_all()?;
        pace.pause();
    }
    Ok(())
}

/// Keeps a journal that holds unusable values, under a name that no start reads.
pub fn set_aside(log_directory: &Path, sequence: u64) -> io::Result<()> {
    let name = name(sequence);
    let mut aside = log_directory.join(format!("{name}{ASIDE}"));
    for number in 2.. {
        if !aside.try_exists()? {
            break;
        }
        aside = log_directory.join(format!("{name}{ASIDE}.{number}"));
    }
    fs::rename(log_directory.join(&name), aside)?;
    sync(log_directory)
}

/// Returns the highest sequence in any name, including journals that were set aside or are being removed.
pub fn highest(log_directory: &Path) -> io::Result<u64> {
    let mut highest = 0;
    for entry in fs::read_dir(log_directory)? {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| name.split('.').next()).and_then(sequence);
        highest = highest.max(name.unwrap_or(0));
    }
    Ok(highest)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Deletes the rest of journals whose removal a crash cut. Runs only at a start: later, a removal may be under way.
pub fn sweep(log_directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(log_directory)? {
        let entry = entry?;
        if entry.file_name().to_str().and_then(|name| name.strip_suffix(GONE)).and_then(sequence).is_some() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    sync(log_directory)
}

fn name(sequence: u64) -> String {
    format!("{PREFIX}{sequence:0DIGITS$}")
}

fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    let is_exact = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_exact { digits.parse().ok() } else { None }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
