//! Keys in memory that no run holds yet: tables of adjacent positions, of which the last one grows. Knows no run and no
//! file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use super::key::{Claim, Digest, Fingerprint, KeyEntry};
use super::runs::Span;
use crate::event::{Hash as ChainHash, Point, Position, Timestamp};

/// Uses the prefix as it is. Digests are uniform already: hashing them again would only cost time.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.prefix());
    }
}

#[derive(Default)]
struct TakeAsIs(u64);

impl Hasher for TakeAsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type KeyMap = HashMap<Digest, (Position, Fingerprint), BuildHasherDefault<TakeAsIs>>;

/// The keys of adjacent positions.
pub struct KeyTable {
    after: Position,
    /// Head at the table's last position.
    head: Point,
    /// True if the table has every key of its positions. If not, no run is made of it: a later start may be able to
    /// read the missing keys.
    is_complete: bool,
    keys: KeyMap,
}

impl KeyTable {
    /// Makes a table of the keys after `after` and up to `head`, given in any order. Keeps the lowest position of each
    /// key.
    pub fn of(after: Position, head: Point, is_complete: bool, entries: &[KeyEntry]) -> Self {
        let mut keys = KeyMap::with_capacity_and_hasher(entries.len(), BuildHasherDefault::default());
        for KeyEntry { digest, position, fingerprint } in entries {
            let first = keys.entry(*digest).or_insert((*position, *fingerprint));
            if *position < first.0 {
                *first = (*position, *fingerprint);
            }
        }
        Self { after, head, is_complete, keys }
    }

    pub fn count(&self) -> usize {
        self.keys.len()
    }

    pub fn span(&self) -> Span {
        Span { after: self.after, through: self.head.position }
    }

    pub fn head(&self) -> Point {
        self.head
    }

    pub fn entries(&self) -> Vec<KeyEntry> {
        let entry = |(digest, (position, fingerprint)): (&Digest, &(Position, Fingerprint))| KeyEntry {
            digest: *digest,
            position: *position,
            fingerprint: *fingerprint,
        };
        self.keys.iter().map(entry).collect()
    }

    fn find(&self, digest: Digest) -> Option<KeyEntry> {
        let (position, fingerprint) = *self.keys.get(&digest)?;
        Some(KeyEntry { digest, position, fingerprint })
    }
}

pub struct RecentKeys {
    /// Full tables that are not dropped yet.
    full: Vec<Arc<KeyTable>>,
    active: KeyTable,
}

impl RecentKeys {
    /// Returns an empty table for the positions after `after`.
    pub fn after(after: Position) -> Self {
        Self { full: Vec::new(), active: new_table(after) }
    }

    /// Returns the first entry with a key.
    pub fn find(&self, digest: Digest) -> Option<KeyEntry> {
        self.find_full(digest).or_else(|| self.active.find(digest))
    }

    /// Returns the entry with the lowest position in the full tables. Keys that are read again may arrive after a later
    /// record has claimed one of them.
    fn find_full(&self, digest: Digest) -> Option<KeyEntry> {
        self.full.iter().filter_map(|table| table.find(digest)).min_by_key(|entry| entry.position)
    }

    /// Claims a key for a position. Returns the existing entry if the key is taken already.
    pub fn claim(&mut self, claim: Claim, position: Position) -> Option<KeyEntry> {
        if let Some(taken) = self.find_full(claim.digest) {
            return Some(taken);
        }
        match self.active.keys.entry(claim.digest) {
            Entry::Occupied(taken) => {
                let (position, fingerprint) = *taken.get();
                Some(KeyEntry { digest: claim.digest, position, fingerprint })
            }
            Entry::Vacant(free) => {
                free.insert((position, claim.fingerprint));
                None
            }
        }
    }

    /// Closes the active table once it covers this number of positions. All claims must be durable up to `head`.
    /// Returns whether it was closed.
    pub fn close_if_full(&mut self, head: Point, positions: u64) -> bool {
        let is_full = head.position - self.active.after >= positions;
        if is_full {
            self.close(head);
        }
        is_full
    }

    /// Closes the active table. Drops it if its span is empty.
    pub fn close(&mut self, head: Point) {
        let mut table = std::mem::replace(&mut self.active, new_table(head.position));
        if head.position > table.after {
            table.head = head;
            self.full.push(Arc::new(table));
        }
    }

    /// Notes that the active table misses a key.
    pub fn mark_incomplete(&mut self) {
        self.active.is_complete = false;
    }

    /// Continues after a position beyond the known ones. The active table must be empty.
    pub fn skip_to(&mut self, after: Position) {
        self.active.after = after;
    }

    /// Adds the keys of earlier positions.
    pub fn add(&mut self, table: KeyTable) {
        self.full.push(Arc::new(table));
    }

    /// Returns the full tables from which runs can be made.
    pub fn complete(&self) -> impl Iterator<Item = &Arc<KeyTable>> {
        self.full.iter().filter(|table| table.is_complete)
    }

    /// Removes and returns the full tables that runs hold.
    pub fn take_covered(&mut self, is_covered: impl Fn(Span) -> bool) -> Vec<Arc<KeyTable>> {
        self.full.extract_if(.., |table| table.is_complete && is_covered(table.span())).collect()
    }

    /// Returns the approximate memory of the keys, in bytes.
    pub fn memory_bytes(&self) -> usize {
        const SLOT_BYTES: usize = size_of::<(Digest, (Position, Fingerprint))>() + 1;
        let tables = self.full.iter().map(|table| &**table).chain([&self.active]);
        tables.map(|table| table.keys.capacity() * 8 / 7 * SLOT_BYTES).sum()
    }
}

fn new_table(after: Position) -> KeyTable {
    let head = Point { position: after, chain: ChainHash::default(), recorded_at: Timestamp::default() };
    KeyTable { after, head, is_complete: true, keys: KeyMap::default() }
}
