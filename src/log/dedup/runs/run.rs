//! Open run: its filters and its index are in memory, its blocks are read one at a time. Writes nothing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fmt, io, vec};

use super::block;
use super::filter::Filter;
use super::footer::{Footer, Partition, RunTail, TAIL_BYTES};
use super::header::{HeaderPage, PAGE_BYTES, RunHeader, UnreadableRun};
use super::span::Span;
use crate::log::dedup::key::{Digest, FINGERPRINT_VERSION, Fingerprint, KeyEntry};
use crate::storage::DecodeError;

/// Reason why a run cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(in crate::log) enum UnusableRun {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it is damaged")]
    Damaged(#[from] DecodeError),
    /// Run of an older format. It is rebuilt from the log.
    #[error("it has the old format {0}")]
    Older(u8),
    #[error("it has format {0}, which a newer version of cleat wrote")]
    Newer(u8),
    #[error("it belongs to another log, another epoch or another log secret")]
    Foreign,
    #[error("it overlaps with a longer run")]
    Overlapping,
}

impl From<UnreadableRun> for UnusableRun {
    fn from(unreadable: UnreadableRun) -> Self {
        match unreadable {
            UnreadableRun::DecodeError(error) => Self::Damaged(error),
            UnreadableRun::Older(format) => Self::Older(format),
            UnreadableRun::Newer(format) => Self::Newer(format),
        }
    }
}

/// Reason why an open run cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::log) enum DedupRunError {
    #[error("cannot read the dedup run {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the dedup run {} is damaged", path.display())]
    Damaged { path: PathBuf, source: DecodeError },
}

/// Number of refused reads at which a run is rebuilt: its disk may never read it.
const IO_ERRORS_MAX: u32 = 3;

impl DedupRunError {
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. } | Self::Damaged { path, .. } => path,
        }
    }
}

/// Open run. Its file stays readable after it is removed.
pub(in crate::log) struct DedupRun {
    path: PathBuf,
    file: File,
    file_bytes: u64,
    page: HeaderPage,
    footer: Footer,
    /// Filter of each partition.
    filters: Vec<Filter>,
    /// Number of reads that the system refused.
    io_errors: AtomicU32,
}

impl fmt::Debug for DedupRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Run").field(&self.path).finish()
    }
}

impl DedupRun {
    /// Reads and checks all of a run but its blocks. The run must cover the span that its name gives.
    pub fn open(path: &Path) -> Result<Self, UnusableRun> {
        let run = Self::open_under_any_name(path)?;
        if Span::of(path) == Some(run.page.header.span()) {
            Ok(run)
        } else {
            Err(DecodeError("it does not cover the range in its name").into())
        }
    }

    pub(super) fn open_under_any_name(path: &Path) -> Result<Self, UnusableRun> {
        let file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        let page = HeaderPage::decode(&read(&file, file_bytes, 0, file_bytes.min(PAGE_BYTES as u64))?)?;
        let footer = read_footer(&file, file_bytes, page.keys)?;
        let filters = footer.partitions.iter().map(|partition| read_filter(&file, file_bytes, partition));
        let filters = filters.collect::<Result<_, _>>()?;
        Ok(Self { path: path.to_owned(), file, file_bytes, page, footer, filters, io_errors: AtomicU32::new(0) })
    }

    /// Returns whether the run has the header and the footer that were written.
    pub(super) fn is_as_written(&self, page: &HeaderPage, footer: &Footer) -> bool {
        self.page == *page && self.footer == *footer
    }

    pub(super) fn set_path(&mut self, path: PathBuf) {
        self.path = path;
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Counts a read error. Returns whether the run must be rebuilt.
    pub fn count_error(&self, error: &DedupRunError) -> bool {
        match error {
            DedupRunError::Damaged { .. } => true,
            DedupRunError::Io { .. } => self.io_errors.fetch_add(1, Ordering::Relaxed) + 1 >= IO_ERRORS_MAX,
        }
    }

    pub fn header(&self) -> &RunHeader {
        &self.page.header
    }

    pub fn span(&self) -> Span {
        self.page.header.span()
    }

    pub fn keys(&self) -> u64 {
        self.page.keys
    }

    /// Returns the bytes that the open run takes in memory.
    pub fn memory_bytes(&self) -> usize {
        let filters: usize = self.filters.iter().map(Filter::memory_bytes).sum();
        size_of::<Self>() + self.footer.memory_bytes() + filters
    }

    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Asks the filters, which are in memory. Never false for a digest that is present.
    pub fn may_contain(&self, digest: Digest) -> bool {
        let prefix = digest.prefix();
        let partitions = self.footer.partitions_of(prefix);
        self.filters[partitions].iter().any(|filter| filter.may_contain(prefix))
    }

    /// Looks a digest up. Reads nothing if the filter says no, otherwise one block.
    pub fn find(&self, digest: Digest) -> Result<Option<KeyEntry>, DedupRunError> {
        if !self.may_contain(digest) {
            return Ok(None);
        }
        // This is one block, unless another begins with the same prefix.
        for number in self.footer.blocks_of(digest.prefix()).rev() {
            let entries = self.block(number)?;
            match entries.binary_search_by_key(&digest, |entry| entry.digest) {
                Ok(at) => return Ok(Some(self.comparable(entries[at]))),
                // It would be in the block before.
                Err(0) => {}
                Err(_) => break,
            }
        }
        Ok(None)
    }

    /// Reads all entries in order of digest, and checks each. Ends after an error.
    pub fn entries(&self) -> RunEntries<'_> {
        RunEntries { run: self, next: 0, block: Vec::new().into_iter(), last: None }
    }

    /// Clears a fingerprint of another version, which cannot be compared.
    fn comparable(&self, entry: KeyEntry) -> KeyEntry {
        let is_comparable = self.page.header.fingerprint_version == FINGERPRINT_VERSION;
        let fingerprint = if is_comparable { entry.fingerprint } else { Fingerprint::UNKNOWN };
        KeyEntry { fingerprint, ..entry }
    }

    fn block(&self, number: usize) -> Result<Vec<KeyEntry>, DedupRunError> {
        let offset = self.footer.block_offset(number).ok_or_else(|| self.damaged("a block is missing"))?;
        let mut page = [0; PAGE_BYTES];
        match self.file.read_exact_at(&mut page, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged("it is too short"));
            }
            read => read.map_err(|source| DedupRunError::Io { path: self.path.clone(), source })?,
        }
        let entries = block::decode(&page, self.span()).map_err(|error| self.damaged(error.0))?;
        let keys = self.page.keys - (number * block::ENTRIES_MAX) as u64;
        let is_its_own = entries.len() as u64 == keys.min(block::ENTRIES_MAX as u64)
            && entries.first().map(|entry| entry.digest.prefix()) == self.footer.firsts.get(number).copied();
        if is_its_own { Ok(entries) } else { Err(self.damaged("a block is in the wrong place")) }
    }

    fn damaged(&self, reason: &'static str) -> DedupRunError {
        DedupRunError::Damaged { path: self.path.clone(), source: DecodeError(reason) }
    }
}

/// Entries of a run.
pub(in crate::log) struct RunEntries<'a> {
    run: &'a DedupRun,
    /// Number of the block to read next.
    next: usize,
    block: vec::IntoIter<KeyEntry>,
    /// Last digest of the block before. `None` before the first block.
    last: Option<Digest>,
}

impl RunEntries<'_> {
    /// Reads the next block, which must begin after the last one.
    fn advance(&mut self) -> Result<(), DedupRunError> {
        let entries = self.run.block(self.next)?;
        if entries.first().map(|entry| entry.digest) <= self.last {
            return Err(self.run.damaged("its blocks are out of order"));
        }
        self.last = entries.last().map(|entry| entry.digest);
        self.next += 1;
        self.block = entries.into_iter();
        Ok(())
    }
}

impl Iterator for RunEntries<'_> {
    type Item = Result<KeyEntry, DedupRunError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.block.next() {
            return Some(Ok(entry));
        }
        if self.next >= self.run.footer.firsts.len() {
            return None;
        }
        if let Err(error) = self.advance() {
            self.next = usize::MAX;
            return Some(Err(error));
        }
        self.block.next().map(Ok)
    }
}

/// Reads a part of the file. Allocates memory only for bytes that the file has, whatever length it claims.
fn read(file: &File, file_bytes: u64, offset: u64, length: u64) -> Result<Vec<u8>, UnusableRun> {
    let too_short = DecodeError("it is too short");
    if offset.checked_add(length).is_none_or(|end| end > file_bytes) {
        return Err(too_short.into());
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| too_short)?];
    match file.read_exact_at(&mut bytes, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(too_short.into()),
        read => Ok(read.map(|()| bytes)?),
    }
}

fn read_footer(file: &File, file_bytes: u64, keys: u64) -> Result<Footer, UnusableRun> {
    let tail_at = file_bytes.checked_sub(TAIL_BYTES as u64).ok_or(DecodeError("it is too short"))?;
    let tail = RunTail::decode(&read(file, file_bytes, tail_at, TAIL_BYTES as u64)?)?;
    if tail.offset.checked_add(tail.footer_bytes()) != Some(tail_at) {
        return Err(DecodeError("the length of its footer does not match its tail").into());
    }
    let bytes = read(file, file_bytes, tail.offset, file_bytes - tail.offset)?;
    Ok(Footer::decode(&bytes, tail, keys)?)
}

fn read_filter(file: &File, file_bytes: u64, partition: &Partition) -> Result<Filter, UnusableRun> {
    let offset = partition.filter_offset();
    let pages = read(file, file_bytes, offset, partition.end() - offset)?;
    let (filter, rest) = pages.split_at_checked(partition.filter_bytes).ok_or(DecodeError("a filter is too short"))?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(DecodeError("the rest of a filter's page is not empty").into());
    }
    Ok(Filter::decode(filter)?)
}
