//! Writes a run: into a temporary file, which is synced, read back and verified, and only then gets its name. Holds the
//! keys of one partition. Knows nothing of the source of its entries.

use std::io;
use std::path::{Path, PathBuf};

use super::block;
use super::filter::Filter;
use super::footer::{Footer, PARTITION_BLOCKS, Partition};
use super::header::{HeaderPage, PAGE_BYTES, RunHeader};
use super::pieces::Pieces;
use super::run::{DedupRun, DedupRunError, UnusableRun};
use crate::log::dedup::key::{Digest, KeyEntry};
use crate::storage::{DecodeError, PIECE_BYTES, Pace};

/// Number of entries that are read back in one piece.
const PIECE_ENTRIES: usize = PIECE_BYTES / PAGE_BYTES * block::ENTRIES_MAX;

/// Reason why a run was not written. No file of it is left.
#[derive(Debug, thiserror::Error)]
pub(in crate::log) enum WriteRunError {
    #[error("cannot {operation} {}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("the entries cannot form a dedup run: {0}")]
    Impossible(&'static str),
    #[error("cannot build a filter for the keys of a dedup run: {0}")]
    Filter(&'static str),
    #[error("{} differs from the bytes that were written", path.display())]
    NotAsWritten { path: PathBuf, source: UnusableRun },
    #[error("a block differs from the bytes that were written")]
    BlockNotAsWritten(#[source] DedupRunError),
}

/// Writes entries, in any order, as the run with this header. The run is durable and verified when this returns. Keeps
/// the lowest position of each digest.
pub(in crate::log) fn write(
    directory: &Path,
    header: RunHeader,
    mut entries: Vec<KeyEntry>,
    pace: &mut dyn Pace,
) -> Result<DedupRun, WriteRunError> {
    entries.sort_unstable_by_key(|entry| (entry.digest, entry.position));
    entries.dedup_by_key(|entry| entry.digest);
    let mut writer = RunWriter::create(directory, header, pace)?;
    for entry in entries {
        writer.push(entry)?;
    }
    writer.finish()
}

/// Run that is being written. Its temporary file is removed unless the run is finished.
pub(super) struct RunWriter<'a> {
    directory: &'a Path,
    header: RunHeader,
    pieces: Pieces<'a>,
    footer: Footer,
    keys: u64,
    /// Digest of the last entry. `None` before the first entry.
    last: Option<Digest>,
    /// Entries of the next block.
    block: Vec<KeyEntry>,
    /// Number of the first block in the next partition.
    first_block: usize,
    /// Prefixes in the next partition, all different.
    prefixes: Vec<u64>,
}

impl<'a> RunWriter<'a> {
    pub fn create(directory: &'a Path, header: RunHeader, pace: &'a mut dyn Pace) -> Result<Self, WriteRunError> {
        if header.head.position <= header.after {
            return Err(WriteRunError::Impossible("the range ends before it begins"));
        }
        let path = header.span().temporary_path(directory);
        let pieces = Pieces::create(path.clone(), pace).map_err(failed("create", &path))?;
        let mut writer = Self {
            directory,
            header,
            pieces,
            footer: Footer::default(),
            keys: 0,
            last: None,
            block: Vec::with_capacity(block::ENTRIES_MAX),
            first_block: 0,
            prefixes: Vec::new(),
        };
        // The header is written last: only then is the number of keys known.
        writer.put(&[0; PAGE_BYTES])?;
        Ok(writer)
    }

    /// Appends an entry, whose digest must be above the last one.
    pub fn push(&mut self, entry: KeyEntry) -> Result<(), WriteRunError> {
        if self.last >= Some(entry.digest) {
            return Err(WriteRunError::Impossible("the digests are not ascending"));
        }
        let is_within = (1..=self.header.head.position.min(block::POSITION_MAX)).contains(&entry.position);
        if !is_within {
            return Err(WriteRunError::Impossible("a position is out of range"));
        }
        let prefix = entry.digest.prefix();
        if self.prefixes.last() != Some(&prefix) {
            self.prefixes.push(prefix);
        }
        self.last = Some(entry.digest);
        self.keys += 1;
        self.block.push(entry);
        if self.block.len() == block::ENTRIES_MAX { self.end_block() } else { Ok(()) }
    }

    /// Finishes the run. Returns once it was read back and verified, and is durable under its name.
    pub fn finish(mut self) -> Result<DedupRun, WriteRunError> {
        self.end_block()?;
        self.end_partition()?;
        let footer = self.footer.encode();
        self.put(&footer)?;
        let page = HeaderPage { header: self.header, keys: self.keys };
        let temporary = self.pieces.path().to_owned();
        self.pieces.finish(&page.encode()).map_err(failed("sync", &temporary))?;
        let not_as_written = |source| WriteRunError::NotAsWritten { path: temporary.clone(), source };
        let mut run = DedupRun::open_under_any_name(&temporary).map_err(not_as_written)?;
        if !run.is_as_written(&page, &self.footer) {
            return Err(not_as_written(DecodeError("its header or its footer differs").into()));
        }
        verify(&run, &mut self.pieces)?;
        let path = self.header.span().path(self.directory);
        self.pieces.rename(&path).map_err(failed("name", &path))?;
        run.set_path(path);
        Ok(run)
    }

    fn end_block(&mut self) -> Result<(), WriteRunError> {
        let Some(first) = self.block.first() else { return Ok(()) };
        self.footer.firsts.push(first.digest.prefix());
        let page = block::encode(&self.block);
        self.block.clear();
        self.put(&page)?;
        let is_full = self.footer.firsts.len() - self.first_block == PARTITION_BLOCKS;
        if is_full { self.end_partition() } else { Ok(()) }
    }

    fn end_partition(&mut self) -> Result<(), WriteRunError> {
        let first_block = self.first_block;
        let Some(first) = self.footer.firsts.get(first_block).copied() else { return Ok(()) };
        let filter = Filter::build(&self.prefixes).map_err(WriteRunError::Filter)?;
        self.prefixes.clear();
        let mut pages = filter.encode();
        let blocks = self.footer.firsts.len() - first_block;
        let filter_bytes = pages.len();
        let offset = self.footer.offset();
        self.footer.partitions.push(Partition { first, first_block, blocks, filter_bytes, offset });
        self.first_block += blocks;
        pages.resize(filter_bytes.next_multiple_of(PAGE_BYTES), 0);
        self.put(&pages)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteRunError> {
        let put = self.pieces.put(bytes);
        put.map_err(failed("write", self.pieces.path()))
    }
}

/// Reads all of a run, and asks its filters for each key.
fn verify(run: &DedupRun, pieces: &mut Pieces<'_>) -> Result<(), WriteRunError> {
    for (number, entry) in run.entries().enumerate() {
        let entry = entry.map_err(WriteRunError::BlockNotAsWritten)?;
        if !run.may_contain(entry.digest) {
            let source = DecodeError("a filter lacks a key").into();
            return Err(WriteRunError::NotAsWritten { path: run.path().to_owned(), source });
        }
        if number % PIECE_ENTRIES == PIECE_ENTRIES - 1 {
            pieces.pause().map_err(failed("read back", run.path()))?;
        }
    }
    Ok(())
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteRunError {
    move |source| WriteRunError::Io { operation, path: path.to_owned(), source }
}
