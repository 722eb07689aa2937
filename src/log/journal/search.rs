//! Searches a journal's `db` file for values, read-only and without sled. Knows how a value begins and ends, but not
//! how sled arranges values: sled stores each as it was given, some more than once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::io::Errno;

use super::value::{VALUE_BYTES_MAX, ValuePart};
use crate::event::Position;

/// Number of bytes that are given up at a time where the disk cannot read.
const SECTOR_BYTES: usize = 4096;
/// Number of bytes that are searched at a time.
const WINDOW_BYTES: usize = 1024 * 1024;

/// Offsets of the copies of one value, and its length.
#[derive(Default)]
struct ValuePlace {
    offsets: Vec<u64>,
    bytes: u64,
}

/// Places of the values in a file.
pub struct Search {
    file: File,
    places: BTreeMap<(Position, u16), ValuePlace>,
}

impl Search {
    /// Finds every whole value, in one pass.
    pub fn of(db: &Path) -> io::Result<Self> {
        let mut search = Self { file: File::open(db)?, places: BTreeMap::new() };
        let end = search.file.metadata()?.len();
        let mut window = vec![0; WINDOW_BYTES + VALUE_BYTES_MAX];
        let mut at = 0;
        let mut skip = 0;
        while at < end {
            let read = read_up_to(&search.file, &mut window, at)?;
            // A value that is found may end after the part of the window that is searched.
            skip = search.look_through(&window[..read], at, skip).saturating_sub(WINDOW_BYTES);
            at += WINDOW_BYTES as u64;
        }
        Ok(search)
    }

    /// Notes the values that begin in a window. Returns the offset at which the search ended. Bytes inside a value are
    /// no value.
    fn look_through(&mut self, window: &[u8], base: u64, from: usize) -> usize {
        let mut at = from;
        while at < window.len().min(WINDOW_BYTES) {
            let Ok(part) = ValuePart::begin(&window[at..]) else {
                at += 1;
                continue;
            };
            let place = self.places.entry((part.first, part.chunk)).or_default();
            place.offsets.push(base + at as u64);
            place.bytes = part.value_bytes() as u64;
            at += part.value_bytes();
        }
        at
    }

    /// Returns whether the file holds no value at all.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the first positions of all frames, ascending.
    pub fn firsts(&self) -> Vec<Position> {
        let mut firsts: Vec<_> = self.places.keys().map(|(first, _)| *first).collect();
        firsts.dedup();
        firsts
    }

    /// Returns the bytes of the values of frames that begin after a position. Counts each value once.
    pub fn bytes_after(&self, position: Position) -> u64 {
        let Some(next) = position.checked_add(1) else { return 0 };
        self.places.range((next, 0)..).map(|(_, place)| place.bytes).sum()
    }

    /// Returns the different values that were found for a chunk of the frame that begins at `first`.
    pub fn values(&self, first: Position, chunk: u16) -> io::Result<Vec<Vec<u8>>> {
        let mut values: Vec<Vec<u8>> = Vec::new();
        for at in self.places.get(&(first, chunk)).into_iter().flat_map(|place| &place.offsets) {
            let mut value = vec![0; VALUE_BYTES_MAX];
            let read = read_up_to(&self.file, &mut value, *at)?;
            let Ok(part) = ValuePart::begin(&value[..read]) else { continue };
            value.truncate(part.value_bytes());
            if !values.contains(&value) {
                values.push(value);
            }
        }
        Ok(values)
    }
}

/// Fills `into` with the bytes from `at` on. Reads fewer at the end of the file.
fn read_up_to(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read_at(&mut into[read..], at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // An unreadable place is damage of that place only.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                let end = (read + SECTOR_BYTES).min(into.len());
                match file.read_at(&mut into[read..end], at + read as u64) {
                    Ok(0) => break,
                    Ok(more) => read += more,
                    Err(_) => {
                        into[read..end].fill(0);
                        read = end;
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
