//! Which event keys the log holds, and where: 16 bytes of keyed digest each, in memory, saved as immutable runs.
//!
//! At start the runs are loaded, and only what the log has beyond them is read. They are derived: any may be missing.
//!
//! A hit is a hint: whoever asks confirms it by reading the record, which is not there before its commit is durable, nor after
//! one that failed; only within a commit the digest alone decides. Sharded, so that growing never stalls the writer.

mod files;
mod load;
mod run;
mod runs;
mod saver;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::io;
use std::sync::{PoisonError, RwLock};

use super::files::secret::LogSecret;
use crate::event::{Event, EventKey, Position, gist};
use crate::storage::Pace;

pub(super) use files::RunFiles;
pub(super) use load::{Known, load};
pub(super) use run::RunOrigin;
pub(super) use saver::Saver;

/// Where runs are kept, each by its last position.
pub(super) trait RunStore: Send + Sync + 'static {
    /// Makes the place where they are kept, and removes what a crash left half-written. Before anything is written or removed.
    fn prepare(&self) -> io::Result<()>;

    /// In order.
    fn list(&self) -> io::Result<Vec<Position>>;

    fn read(&self, through: Position) -> io::Result<Vec<u8>>;

    /// Durable, and whole, when it returns. An error harms nothing but this run.
    fn write(&self, through: Position, bytes: &[u8], pace: &mut dyn Pace) -> io::Result<()>;

    fn remove(&self, through: Position) -> io::Result<()>;
}

/// One for each value of a byte.
const SHARDS: usize = 256;

/// 128 bits of what a record claims, under the log's secret: nothing that is stored confirms a guessed id or body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest([u64; 2]);

impl Digest {
    /// Stands for a record that claims no key.
    pub const NONE: Self = Self([0; 2]);

    pub fn of_event(secret: &LogSecret, tenant: &str, key: &EventKey) -> Self {
        Self::from_bytes(secret.keyed(b"event", &[tenant.as_bytes(), key.as_str().as_bytes()]))
    }

    /// The claim of a delivery with this content ([`gist`]) that conflicts with the event at `first`.
    pub fn of_conflict(secret: &LogSecret, first: Position, content: &crate::event::Hash) -> Self {
        let fingerprint = secret.keyed(b"fingerprint 1", &[content]);
        Self::from_bytes(secret.keyed(b"conflict", &[&first.to_be_bytes(), &fingerprint]))
    }

    /// The claim of an event in the log. `None` if it claims nothing, or if what it claims cannot be read any more.
    pub fn of_stored(secret: &LogSecret, event: &Event) -> Option<Self> {
        let key = event.delivery.key.as_ref()?;
        Some(match event.conflict_of {
            Some(first) => Self::of_conflict(secret, first, &gist(&event.delivery.body)),
            None => Self::of_event(secret, &event.delivery.tenant, key),
        })
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(bytes);
        let word = |shift: u32| u64::try_from((bits >> shift) & u128::from(u64::MAX)).unwrap_or_default();
        Self([word(64), word(0)])
    }

    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.0[0]) << 64 | u128::from(self.0[1])).to_be_bytes()
    }

    /// Returns the first 8 bytes, as a number. They order digests as all of their bytes do.
    fn prefix(self) -> u64 {
        self.0[0]
    }

    /// Not by the bits that place it within the shard.
    fn shard(self) -> usize {
        usize::from(self.0[1].to_be_bytes()[7])
    }
}

/// What a record tells, in short, under the log's secret: the same key with another fingerprint is a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(pub [u8; 8]);

impl Fingerprint {
    /// Stands for a record whose fingerprint is not known.
    #[cfg_attr(not(test), expect(dead_code, reason = "integrated next"))]
    pub const UNKNOWN: Self = Self([0; 8]);
}

/// What must have one position only.
pub(super) enum Claim {
    Event {
        tenant: String,
        key: EventKey,
        digest: Digest,
    },
    /// A delivery that conflicts with the event at `first`. Unique per fingerprint.
    Conflict {
        first: Position,
        digest: Digest,
    },
}

impl Claim {
    pub fn digest(&self) -> Digest {
        match self {
            Self::Event { digest, .. } | Self::Conflict { digest, .. } => *digest,
        }
    }
}

/// Digests are uniform already: hashing them again would only cost.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
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

type Shard = HashMap<Digest, Position, BuildHasherDefault<TakeAsIs>>;

pub(super) struct DedupIndex {
    shards: Vec<RwLock<Shard>>,
}

impl DedupIndex {
    pub fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }

    fn shard(&self, digest: Digest) -> &RwLock<Shard> {
        &self.shards[digest.shard()]
    }

    /// Makes room for about so many keys, so that filling it does not move what is there.
    pub fn reserve(&self, keys: usize) {
        // Evenly spread, give or take.
        let of_one = keys / SHARDS + keys / SHARDS / 16;
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).reserve(of_one);
        }
    }

    /// Takes many keys at once, shard by shard: the shard in work stays in the core's cache, which is several times faster.
    pub fn claim_all(&self, claims: Vec<(Digest, Position)>) {
        let of_one = claims.len() / SHARDS * 9 / 8;
        let mut of_shards: Vec<_> = (0..SHARDS).map(|_| Vec::with_capacity(of_one)).collect();
        for claim in claims {
            of_shards[claim.0.shard()].push(claim);
        }
        for (shard, claims) in self.shards.iter().zip(of_shards) {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            for (digest, position) in claims {
                shard.entry(digest).or_insert(position);
            }
        }
    }

    pub fn find(&self, digest: Digest) -> Option<Position> {
        let shard = self.shard(digest).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&digest).copied()
    }

    /// Takes the key for `position`, unless it is taken: then by whom.
    pub fn claim(&self, digest: Digest, position: Position) -> Option<Position> {
        let mut shard = self.shard(digest).write().unwrap_or_else(PoisonError::into_inner);
        match shard.entry(digest) {
            Entry::Occupied(taken) => Some(*taken.get()),
            Entry::Vacant(free) => {
                free.insert(position);
                None
            }
        }
    }
}
