//! Filters: one typed form for lists and watches, checked once, with a hash that is the same in every process.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::asked;
use super::status::Refusal;
use crate::event::ApiMode;
use crate::fold::{Connection, Export, ExportStatus, Realm, Status};
use crate::proto;
use crate::token::Identity;

/// As the protos promise.
const STATUSES_MAX: usize = 10;
const TEXTS_MAX: usize = 100;
/// Longer than any id that Fasten has minted.
const TEXT_BYTES_MAX: usize = 1024;

/// Which connections. An empty set allows all.
#[derive(Default, PartialEq, Eq)]
pub(super) struct ConnectionFilter {
    pub external_ids: BTreeSet<String>,
    statuses: BTreeSet<Status>,
    platform_types: BTreeSet<String>,
}

impl ConnectionFilter {
    pub fn read(filter: Option<proto::ConnectionFilter>) -> Result<Self, Refusal> {
        let filter = filter.unwrap_or_default();
        Ok(Self {
            external_ids: texts("filter.external_ids", filter.external_ids)?,
            statuses: words("filter.statuses", &filter.statuses, asked::status)?,
            platform_types: texts("filter.platform_types", filter.platform_types)?,
        })
    }

    pub fn matches(&self, connection: &Connection) -> bool {
        let any = |wanted: &BTreeSet<String>, told: Option<&str>| {
            wanted.is_empty() || told.is_some_and(|told| wanted.contains(told))
        };
        (self.statuses.is_empty() || self.statuses.contains(&connection.status))
            && any(&self.external_ids, connection.facts.external_id.as_deref())
            && any(&self.platform_types, connection.facts.platform_type.as_deref())
    }

    /// An export matches when its connection does; without one, only if nothing is asked of it.
    pub fn matches_joined(&self, connection: Option<&Connection>) -> bool {
        connection.map_or_else(|| *self == Self::default(), |connection| self.matches(connection))
    }

    pub fn hash_into(&self, hasher: &mut FilterHasher) {
        hasher.texts(&self.external_ids);
        hasher.number(self.statuses.iter().fold(0, |bits, status| bits | 1 << *status as u64));
        hasher.texts(&self.platform_types);
    }
}

/// Which exports. An empty set allows all.
#[derive(Default)]
pub(super) struct ExportFilter {
    pub connection_ids: BTreeSet<String>,
    statuses: BTreeSet<ExportStatus>,
    /// Of the connection.
    pub connection: ConnectionFilter,
}

impl ExportFilter {
    pub fn read(filter: Option<proto::ExportFilter>) -> Result<Self, Refusal> {
        let filter = filter.unwrap_or_default();
        let external_ids = texts("filter.external_ids", filter.external_ids)?;
        Ok(Self {
            connection_ids: texts("filter.org_connection_ids", filter.org_connection_ids)?,
            statuses: words("filter.statuses", &filter.statuses, asked::export_status)?,
            connection: ConnectionFilter { external_ids, ..ConnectionFilter::default() },
        })
    }

    /// All exports of the connections that match.
    pub fn of(connection: ConnectionFilter) -> Self {
        Self { connection, ..Self::default() }
    }

    pub fn matches(&self, export: &Export, connection: Option<&Connection>) -> bool {
        let wanted = |id: &str| self.connection_ids.contains(id);
        (self.statuses.is_empty() || self.statuses.contains(&export.status))
            && (self.connection_ids.is_empty() || export.connection_id.as_deref().is_some_and(wanted))
            && self.connection.matches_joined(connection)
    }

    pub fn hash_into(&self, hasher: &mut FilterHasher) {
        hasher.texts(&self.connection_ids);
        hasher.number(self.statuses.iter().fold(0, |bits, status| bits | 1 << *status as u64));
        self.connection.hash_into(hasher);
    }
}

/// Tells filters apart over restarts: 8 bytes of SHA-256 over what was asked, in a fixed order.
pub(super) struct FilterHasher(Sha256);

impl FilterHasher {
    /// `what`: the kind of request, so that a token of one is none of another.
    pub fn new(what: &str, realm: &Realm) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.text(what);
        hasher.text(&realm.tenant);
        hasher.number(match realm.mode {
            ApiMode::Live => 1,
            ApiMode::Test => 2,
        });
        hasher
    }

    /// For tokens that do not tell their log by themselves.
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

    fn texts(&mut self, texts: &BTreeSet<String>) {
        self.number(texts.len() as u64);
        for text in texts {
            self.text(text);
        }
    }

    pub fn finish(self) -> u64 {
        let digest = self.0.finalize();
        digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}

fn texts(field: &'static str, values: Vec<String>) -> Result<BTreeSet<String>, Refusal> {
    let refuse = |problem| Err(Refusal::InvalidFilter { field, problem });
    if values.len() > TEXTS_MAX {
        return refuse("more than 100 values");
    }
    if values.iter().any(|value| value.is_empty() || value.len() > TEXT_BYTES_MAX) {
        return refuse("a value is empty, or longer than 1024 bytes");
    }
    Ok(values.into_iter().collect())
}

fn words<T: Ord>(field: &'static str, values: &[i32], read: impl Fn(i32) -> Option<T>) -> Result<BTreeSet<T>, Refusal> {
    if values.len() > STATUSES_MAX {
        return Err(Refusal::InvalidFilter { field, problem: "more than 10 values" });
    }
    let known = values.iter().map(|value| read(*value));
    known.collect::<Option<_>>().ok_or(Refusal::InvalidFilter { field, problem: "a value has no meaning" })
}
