//! Faults: which file of a data directory is harmed, and how. It knows nothing of the expected outcome.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::prepared::{LIVES, Prepared};
use super::tree::Tree;

/// A kind of file, a part of one, or a part of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Cleat,
    Epochs,
    Secret,
    Witness,
    SegmentHeader,
    SegmentFrame,
    SegmentFooter,
    LastJournal,
    ClosedJournal,
    /// The next journal, which is made before it is needed.
    BlankJournal,
    /// Files that only sled reads.
    JournalSled,
    Run,
    Checkpoint,
    /// The change log of the views.
    Changes,
    LogPart,
    DedupPart,
    ViewsPart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    Flip,
    /// Flips a bit in every copy of one value of a journal: sled may have moved the value.
    EachCopy,
    /// Like [`Self::EachCopy`], but for the first value of the journal's first frame.
    Beginning,
    /// Overwrites a sector with zeros.
    Zeros,
    Cut,
    Emptied,
    Deleted,
    /// Replaces the file with that of another log.
    Other,
    /// Replaces the file with that of a log that begins where ours has ended.
    Longer,
    /// Replaces the file with that of a log that begins and ends within ours.
    Inner,
    /// Replaces the file with an older copy of it.
    Older,
}

impl Harm {
    /// Whether the harm is at a place in a file.
    fn is_bitwise(self) -> bool {
        matches!(self, Self::Flip | Self::EachCopy | Self::Beginning | Self::Zeros | Self::Cut)
    }
}

/// One fault in one copy.
#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: Kind,
    pub harm: Harm,
    pub path: PathBuf,
    pub at: usize,
}

/// Frames of a journal that are left after a fault. A frame is left if each of its values has a whole copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    All,
    /// Only the first frames are lost.
    End,
    /// Other frames are lost, or all are.
    Other,
}

const SECTOR: usize = 512;
/// Length of the name of a journal's value.
const KEY_BYTES: usize = 11;
/// Length of a segment's header.
const HEADER_BYTES: usize = 94;
/// Lengths of a footer's tail and of its entry for each frame.
const FOOTER_TAIL_BYTES: usize = 96;
const FOOTER_ENTRY_BYTES: usize = 24;

impl Kind {
    /// Returns the files of this kind, or the part of the directory.
    pub fn paths(self, tree: &Tree) -> Vec<PathBuf> {
        let named = |name: &str| tree.files(|path| path == Path::new(name));
        let ends = |path: &Path, ending: &str| path.extension().is_some_and(|extension| extension == ending);
        match self {
            Self::Cleat => named("CLEAT"),
            Self::Epochs => named("EPOCHS"),
            Self::Secret => named("SECRET"),
            Self::Witness => named("witness"),
            Self::SegmentHeader | Self::SegmentFrame | Self::SegmentFooter => tree.files(|path| ends(path, "seg")),
            Self::LastJournal => filled(tree).pop().into_iter().collect(),
            Self::ClosedJournal => filled(tree).into_iter().rev().skip(1).collect(),
            Self::BlankJournal => journals(tree).into_iter().filter(|path| !holds_values(tree, path)).collect(),
            Self::JournalSled => tree.files(|path| is_of_journal(path) && !path.ends_with("db")),
            Self::Run => tree.files(|path| ends(path, "run")),
            Self::Checkpoint => tree.files(|path| ends(path, "checkpoint")),
            Self::Changes => tree.files(|path| path.starts_with("views") && !ends(path, "checkpoint")),
            Self::LogPart => vec!["log".into()],
            Self::DedupPart => vec!["dedup".into()],
            Self::ViewsPart => vec!["views".into()],
        }
    }

    fn is_part(self) -> bool {
        matches!(self, Self::LogPart | Self::DedupPart | Self::ViewsPart)
    }

    /// Returns the beginning and the end of this kind's bytes in a file.
    fn range(self, bytes: &[u8]) -> (usize, usize) {
        let footer = || {
            let frames = u32::from_be_bytes(bytes[bytes.len() - FOOTER_TAIL_BYTES..][..4].try_into().unwrap());
            bytes.len() - FOOTER_TAIL_BYTES - FOOTER_ENTRY_BYTES * frames as usize
        };
        match self {
            Self::SegmentHeader => (0, HEADER_BYTES),
            Self::SegmentFrame => (HEADER_BYTES, footer()),
            Self::SegmentFooter => (footer(), bytes.len()),
            _ => (0, bytes.len()),
        }
    }
}

/// Returns the files of the journals, in order.
fn journals(tree: &Tree) -> Vec<PathBuf> {
    tree.files(|path| is_of_journal(path) && path.ends_with("db"))
}

/// Returns the files of the journals that hold values.
fn filled(tree: &Tree) -> Vec<PathBuf> {
    journals(tree).into_iter().filter(|path| holds_values(tree, path)).collect()
}

fn holds_values(tree: &Tree, path: &Path) -> bool {
    tree.get(path).is_some_and(|bytes| !values(bytes).is_empty())
}

/// Returns the ranges of the values in a journal's file, in the format of `src/log/journal/value.rs`.
pub fn values(bytes: &[u8]) -> Vec<Range<usize>> {
    const HEADER: usize = 19;
    let mut found = Vec::new();
    let mut at = 0;
    while at + HEADER <= bytes.len() {
        let header = &bytes[at..at + HEADER];
        let end = at + HEADER + usize::from(u16::from_be_bytes([header[13], header[14]]));
        if header[0] == 2 && end <= bytes.len() {
            let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..15]), &bytes[at + HEADER..end]);
            if header[15..] == crc.to_be_bytes() {
                found.push(at..end);
                at = end;
                continue;
            }
        }
        at += 1;
    }
    found
}

/// Returns the name of each value: format, position and chunk.
fn names(bytes: &[u8]) -> BTreeSet<&[u8]> {
    values(bytes).into_iter().map(|value| &bytes[value][..KEY_BYTES]).collect()
}

fn first_position(name: &[u8]) -> u64 {
    u64::from_be_bytes(name[1..9].try_into().unwrap())
}

fn is_of_journal(path: &Path) -> bool {
    path.to_string_lossy().starts_with("log/journal-")
}

impl Fault {
    /// Returns a fault in a random file of the kind, at a random place.
    pub fn of(kind: Kind, harm: Harm, tree: &Tree, random: &mut StdRng) -> Self {
        let paths = kind.paths(tree);
        let is_bitwise = harm.is_bitwise();
        let has_bytes = |path: &&PathBuf| tree.get(path).is_none_or(|bytes| !bytes.is_empty()) || !is_bitwise;
        let paths: Vec<_> = paths.iter().filter(has_bytes).collect();
        let path = paths[random.random_range(0..paths.len())].clone();
        let at = match tree.get(&path) {
            Some(_) if !is_bitwise => 0,
            None => 0,
            Some(bytes) if harm == Harm::Beginning => {
                values(bytes).into_iter().min_by_key(|value| &bytes[value.clone()][..KEY_BYTES]).unwrap().start
            }
            Some(bytes) if harm == Harm::EachCopy => any_of(&values(bytes), random).start,
            Some(bytes) => place(kind, bytes, random),
        };
        Self { kind, harm, path, at }
    }

    /// Inflicts the fault. Returns whether anything has changed.
    pub fn inflict(&self, tree: &mut Tree, prepared: &Prepared, random: &mut StdRng) -> bool {
        let before = tree.clone();
        match self.harm {
            Harm::Flip => tree.bytes_mut(&self.path)[self.at] ^= 1 << random.random_range(0..8),
            Harm::EachCopy | Harm::Beginning => {
                let bytes = tree.bytes_mut(&self.path);
                let key = bytes[self.at..self.at + KEY_BYTES].to_vec();
                for value in
                    values(bytes).into_iter().filter(|value| bytes[value.clone()].starts_with(&key)).collect::<Vec<_>>()
                {
                    bytes[value.end - 1] ^= 1;
                }
            }
            Harm::Zeros => {
                let bytes = tree.bytes_mut(&self.path);
                let start = self.at / SECTOR * SECTOR;
                let end = bytes.len().min(start + SECTOR);
                bytes[start..end].fill(0);
            }
            Harm::Cut => tree.bytes_mut(&self.path).truncate(self.at),
            Harm::Emptied => tree.bytes_mut(&self.path).clear(),
            Harm::Deleted => tree.remove(&self.path),
            Harm::Other => self.replace(tree, &prepared.other),
            Harm::Longer => self.replace(tree, &prepared.longer),
            Harm::Inner => self.replace(tree, &prepared.inner),
            Harm::Older if prepared.half.get(&self.path).is_some() => {
                tree.bytes_mut(&self.path).clone_from(prepared.half.get(&self.path).unwrap());
            }
            Harm::Older => self.replace(tree, &prepared.older),
        }
        *tree != before
    }

    /// Returns which frames of its journal are left. `None` if the fault is in no journal, or harms more than bytes.
    pub fn left(&self, before: &Tree, after: &Tree) -> Option<Left> {
        let (all, lost) = self.frames(before, after)?;
        let begins_with_lost = all.iter().zip(&lost).all(|(one, lost)| one == lost);
        Some(match lost.len() {
            0 => Left::All,
            some if begins_with_lost && some < all.len() => Left::End,
            _ => Left::Other,
        })
    }

    /// Returns the first positions of a journal's frames, and those of the lost frames.
    fn frames(&self, before: &Tree, after: &Tree) -> Option<(BTreeSet<u64>, BTreeSet<u64>)> {
        let is_of_values = matches!(self.kind, Kind::LastJournal | Kind::ClosedJournal) && self.harm.is_bitwise();
        if !is_of_values {
            return None;
        }
        let before = names(before.get(&self.path)?);
        let after = names(after.get(&self.path)?);
        let firsts = |names: &mut dyn Iterator<Item = &&[u8]>| names.map(|name| first_position(name)).collect();
        Some((firsts(&mut before.iter()), firsts(&mut before.difference(&after))))
    }

    /// Returns the positions that the fault may make unreadable: those of the lost frames, or of the whole file.
    pub fn touches(&self, before: &Tree, after: &Tree) -> BTreeSet<u64> {
        let whole = self.positions();
        let Some((all, lost)) = self.frames(before, after) else { return whole.collect() };
        let end = |first: u64| all.range(first + 1..).next().copied().unwrap_or(whole.end);
        lost.iter().flat_map(|first| *first..end(*first)).collect()
    }

    /// Whether a start finds the fault. A start does not read sealed events.
    pub fn is_found_by_a_start(&self) -> bool {
        let is_cut_segment = self.kind == Kind::SegmentFrame && self.harm == Harm::Cut;
        is_cut_segment || matches!(self.kind, Kind::SegmentHeader | Kind::LastJournal | Kind::ClosedJournal)
    }

    /// Returns the positions that the file holds.
    fn positions(&self) -> Range<u64> {
        let before = |life: usize| LIVES[..life].iter().sum::<u64>();
        match self.kind {
            Kind::SegmentHeader | Kind::SegmentFrame | Kind::SegmentFooter => {
                let name = self.path.file_stem().unwrap().to_str().unwrap();
                let (first, last) = name.split_once('-').unwrap();
                first.parse().unwrap()..last.parse::<u64>().unwrap() + 1
            }
            Kind::ClosedJournal => before(3) + 1..before(4) + 1,
            Kind::LastJournal => before(4) + 1..before(5) + 1,
            _ => 0..0,
        }
    }

    /// Replaces the file with one from another directory: of the same name if the directory is ours, else of the same
    /// kind.
    fn replace(&self, tree: &mut Tree, by: &Tree) {
        if self.kind.is_part() {
            tree.remove(&self.path);
            tree.put(by.part(|path| path.starts_with(&self.path)));
            return;
        }
        let index = self.kind.paths(tree).iter().position(|path| *path == self.path).unwrap();
        let of_kind = self.kind.paths(by);
        let same = of_kind.iter().find(|path| self.harm == Harm::Older && **path == self.path);
        let instead = same.unwrap_or_else(|| &of_kind[index.min(of_kind.len() - 1)]);
        tree.bytes_mut(&self.path).clone_from(by.get(instead).unwrap());
    }
}

fn any_of(ranges: &[Range<usize>], random: &mut StdRng) -> Range<usize> {
    ranges[random.random_range(0..ranges.len())].clone()
}

/// Returns a random place. Half of the places are where the file has data.
fn place(kind: Kind, bytes: &[u8], random: &mut StdRng) -> usize {
    let (from, to) = kind.range(bytes);
    let in_use = random.random_bool(0.5);
    if in_use && matches!(kind, Kind::LastJournal | Kind::ClosedJournal) {
        let value = any_of(&values(bytes), random);
        return random.random_range(value);
    }
    let mut at = random.random_range(from..to);
    for _ in 0..1000 {
        if !in_use || bytes[at] != 0 {
            break;
        }
        at = random.random_range(from..to);
    }
    at
}
