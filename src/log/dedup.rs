//! Which event keys the log holds, and where: 16 bytes of keyed digest each, in memory, saved as immutable runs.
//!
//! At start the runs are loaded, and only what the log has beyond them is read. They are derived: any may be missing.
//!
//! A hit is a hint: whoever asks confirms it by reading the record, which is not there before its commit is durable, nor after
//! one that failed; only within a commit the digest alone decides. Sharded, so that growing never stalls the writer.

mod files;
mod load;
mod run;
mod saver;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::io;
use std::sync::{PoisonError, RwLock};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::event::{EventKey, Position};

pub(super) use files::RunFiles;
pub(super) use load::{Known, load};
pub(super) use saver::Saver;

/// Where runs are kept, each by its last position.
pub(super) trait RunStore: Send + Sync + 'static {
    /// In order.
    fn list(&self) -> io::Result<Vec<Position>>;

    fn read(&self, through: Position) -> io::Result<Vec<u8>>;

    /// Durable, and whole, when it returns. An error harms nothing but this run.
    fn write(&self, through: Position, bytes: &[u8]) -> io::Result<()>;

    fn remove(&self, through: Position) -> io::Result<()>;
}

/// One for each value of a byte.
const SHARDS: usize = 256;

/// 128 bits of (tenant, event key), keyed by the log's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u64; 2]);

impl Digest {
    pub fn of(log_id: u128, tenant: &str, key: &EventKey) -> Self {
        let mut hasher = SipHasher13::new_with_key(&log_id.to_be_bytes());
        hasher.write_usize(tenant.len());
        hasher.write(tenant.as_bytes());
        hasher.write(key.as_str().as_bytes());
        let digest = hasher.finish128();
        Self([digest.h1, digest.h2])
    }

    /// Not by the bits that place it within the shard.
    fn shard(self) -> usize {
        usize::from(self.0[1].to_be_bytes()[7])
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
