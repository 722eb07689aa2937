//! Filter hash, by which tokens distinguish requests. It is the same in every process. Knows nothing of the meaning of
//! the fields.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::event::{ApiMode, Identity, Timestamp};
use crate::fold::Realm;

/// First 8 bytes of SHA-256 over the fields of a request, in a fixed order.
pub struct FilterHasher(Sha256);

impl FilterHasher {
    /// Starts a hash. `what` is the kind of request, so that a token of one kind is not valid for another.
    pub fn new(what: &str, realm: &Realm) -> Self {
        let mut hasher = Self::of_tenant(what, &realm.tenant);
        hasher.number(match realm.mode {
            ApiMode::Live => 1,
            ApiMode::Test => 2,
        });
        hasher
    }

    /// Like [`Self::new`], but for requests that cover both modes.
    pub fn of_tenant(what: &str, tenant: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.text(what);
        hasher.text(tenant);
        hasher
    }

    /// Adds the log's identity. For tokens that do not carry it themselves.
    pub fn log(&mut self, identity: Identity) {
        self.0.update(identity.log_id.to_be_bytes());
        self.0.update(identity.epoch.to_be_bytes());
    }

    pub fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    pub fn texts(&mut self, texts: &BTreeSet<String>) {
        self.number(texts.len() as u64);
        for text in texts {
            self.text(text);
        }
    }

    pub fn flag(&mut self, flag: Option<bool>) {
        self.number(flag.map_or(0, |flag| 1 + u64::from(flag)));
    }

    pub fn time(&mut self, time: Option<Timestamp>) {
        self.micros(time.map(Timestamp::as_micros));
    }

    pub fn micros(&mut self, micros: Option<i64>) {
        self.flag(micros.map(|_| true));
        self.number(micros.unwrap_or_default().cast_unsigned());
    }

    pub fn finish(self) -> u64 {
        let digest = self.0.finalize();
        digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}
