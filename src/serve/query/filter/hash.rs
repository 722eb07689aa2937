//! Filter hash, by which tokens distinguish requests. It is the same in every process. Knows nothing of the meaning of
//! the fields.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::event::{ApiMode, Identity, Timestamp};
use crate::fold::Realm;

/// First 8 bytes of SHA-256 over the fields of a request, in a fixed order.
pub struct FilterHasher(Sha256);

impl FilterHasher {
    /// Starts a hash for a kind of request, so that a token of one kind is not valid for another.
    pub fn new(kind: &str, realm: &Realm) -> Self {
        let mut hasher = Self::of_tenant(kind, &realm.tenant);
        hasher.add_number(match realm.mode {
            ApiMode::Live => 1,
            ApiMode::Test => 2,
        });
        hasher
    }

    /// Like [`Self::new`], but for requests that cover both modes.
    pub fn of_tenant(kind: &str, tenant: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.add_text(kind);
        hasher.add_text(tenant);
        hasher
    }

    /// Adds the log's identity. For tokens that do not carry it themselves.
    pub fn add_log(&mut self, identity: Identity) {
        self.0.update(identity.to_bytes());
    }

    pub fn add_number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    pub fn add_text(&mut self, text: &str) {
        self.add_number(text.len() as u64);
        self.0.update(text);
    }

    pub fn add_texts(&mut self, texts: &BTreeSet<String>) {
        self.add_number(texts.len() as u64);
        for text in texts {
            self.add_text(text);
        }
    }

    pub fn add_flag(&mut self, flag: Option<bool>) {
        self.add_number(flag.map_or(0, |flag| 1 + u64::from(flag)));
    }

    pub fn add_time(&mut self, time: Option<Timestamp>) {
        self.add_micros(time.map(Timestamp::as_micros));
    }

    pub fn add_micros(&mut self, micros: Option<i64>) {
        self.add_flag(micros.map(|_| true));
        self.add_number(micros.unwrap_or_default().cast_unsigned());
    }

    pub fn finish(self) -> u64 {
        let digest = self.0.finalize();
        digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}
