//! Keys of records, as digests, and what the index knows of one. Nothing here confirms a guessed id or body.

use crate::event::{Event, EventKey, Hash, Identity, Position, fingerprint};
use crate::log::files::secret::LogSecret;

/// Version of the fingerprint algorithm. Changes whenever the same content gives another fingerprint.
pub const FINGERPRINT_VERSION: u8 = 1;
/// Fingerprints in journals are taken as current ones, so the two versions must be equal.
const _: () = assert!(FINGERPRINT_VERSION == crate::log::journal::FINGERPRINT_VERSION);

/// Log that a run belongs to, and generation of the secret that keys its digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOrigin {
    pub identity: Identity,
    pub generation: u32,
}

/// 128-bit digest of a record's claim, keyed by the log secret: nothing that is stored confirms a guessed id or body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u64; 2]);

impl Digest {
    /// Stands for a record that claims no key.
    pub const NONE: Self = Self([0; 2]);

    pub fn of_event(secret: &LogSecret, tenant: &str, key: &EventKey) -> Self {
        Self::from_bytes(secret.keyed(b"event", &[tenant.as_bytes(), key.as_str().as_bytes()]))
    }

    /// Returns the claim of a delivery that conflicts with the event at `first`.
    pub fn of_conflict(secret: &LogSecret, first: Position, fingerprint: Fingerprint) -> Self {
        Self::from_bytes(secret.keyed(b"conflict", &[&first.to_be_bytes(), &fingerprint.0]))
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(bytes);
        let word = |shift: u32| u64::try_from((bits >> shift) & u128::from(u64::MAX)).unwrap_or_default();
        Self([word(64), word(0)])
    }

    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.0[0]) << 64 | u128::from(self.0[1])).to_be_bytes()
    }

    /// Returns the first 8 bytes as a number. Digests in order have prefixes in order.
    pub fn prefix(self) -> u64 {
        self.0[0]
    }
}

/// Short digest of a record's content, keyed by the log secret. The same key with another fingerprint is a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 8]);

impl Fingerprint {
    /// Stands for a record whose fingerprint is not known: its body decides.
    pub const UNKNOWN: Self = Self([0; 8]);

    /// Returns the keyed fingerprint of `content`, which is a [`fingerprint`].
    pub fn of(secret: &LogSecret, content: &Hash) -> Self {
        let keyed = secret.keyed(b"fingerprint 1", &[content]);
        Self(std::array::from_fn(|at| keyed[at]))
    }
}

/// Digest that may have only one position, and the fingerprint of the content at that position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub digest: Digest,
    pub fingerprint: Fingerprint,
}

impl Claim {
    /// Stands for a record that claims no key.
    pub const NONE: Self = Self { digest: Digest::NONE, fingerprint: Fingerprint::UNKNOWN };

    /// Returns the claim of an event in the log. `None` if it claims nothing, or if its claim can no longer be read.
    pub fn of_stored(secret: &LogSecret, event: &Event) -> Option<Self> {
        let key = event.delivery.key.as_ref()?;
        let fingerprint = Fingerprint::of(secret, &fingerprint(&event.delivery.body));
        let digest = match event.conflict_of {
            Some(first) => Digest::of_conflict(secret, first, fingerprint),
            None => Digest::of_event(secret, &event.delivery.tenant, key),
        };
        Some(Self { digest, fingerprint })
    }
}

/// Key, and the position that claimed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEntry {
    pub digest: Digest,
    pub position: Position,
    pub fingerprint: Fingerprint,
}

/// What the runs know of a record's key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KnownKey {
    /// First entry with the key. `None` if no run has it. Its fingerprint counts if memory knows none.
    pub first: Option<KeyEntry>,
    /// Whether a run has a conflict of this content with `first`.
    pub has_conflict: bool,
    /// Last position that these runs cover. Memory has all later keys.
    pub through: Position,
}
