//! Imports payloads from Fasten's delivery logs: checks them one by one and appends them in the given order, marked as
//! imported, without signatures.

use std::collections::HashMap;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::handle::{Backfill, BackfillEndpoint, BackfillError, off_runtime};
use crate::event::{Body, Delivery, EventKey, Hash, ModeVerdict, Provenance, fingerprint};
use crate::log::{AppendOutcome, OrderedDeliveries, ReadError, Reader};

/// Maximum number of payloads that wait for their commits at once. Each takes memory until then.
const APPENDED_AT_ONCE: usize = 1000;
/// Maximum number of refused payloads that are listed. The others are only counted.
const REFUSED_LISTED_MAX: usize = 100;
/// Maximum number of keys in one dry run.
const CLAIMED_MAX: usize = 1_000_000;
/// Memory for a claimed key, in a table that has just grown.
const CLAIMED_BYTES: usize = 26;

/// Why a payload is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("it is no JSON object")]
    NoObject,
    #[error("it has no type: no webhook of Fasten's")]
    NoType,
    #[error("it is larger than webhooks.body_limit")]
    TooLarge,
    #[error("its api_mode is not the one of its endpoint")]
    OtherMode,
    #[error("neither it nor its endpoint names a known api_mode")]
    NoMode,
}

/// Results of the payloads processed up to now. For a dry run, the results that a real one would have.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub imported: u64,
    /// Payloads that are in the log already.
    pub duplicates: u64,
    /// Payloads whose key is in the log already, with different content there: stored in addition.
    pub conflicts: u64,
    pub refused: u64,
    /// The first refused payloads: the index, from 0, and the reason.
    pub listed: Vec<(u64, Unfit)>,
}

/// One import, batch by batch.
pub struct Import {
    backfill: Backfill,
    endpoint: BackfillEndpoint,
    sequence: OrderedDeliveries,
    summary: Summary,
    /// Number of payloads processed up to now.
    given: u64,
    /// The keys claimed in a dry run. `None` if this is no dry run.
    claimed: Option<Claimed>,
}

impl Backfill {
    /// Begins an import as if through this endpoint of the tenant. An empty name means the tenant's only endpoint.
    /// `None` if the tenant has no such endpoint.
    pub fn import(&self, tenant: &str, endpoint: &str, dry_run: bool) -> Option<Import> {
        let of_tenant: Vec<_> = self.endpoints.iter().filter(|found| found.tenant == tenant).collect();
        let found = match of_tenant[..] {
            [only] if endpoint.is_empty() => only,
            _ if endpoint.is_empty() => return None,
            _ => of_tenant.into_iter().find(|found| found.name == endpoint)?,
        };
        Some(Import::new(self.clone(), found.clone(), dry_run))
    }
}

impl Import {
    pub(super) fn new(backfill: Backfill, endpoint: BackfillEndpoint, dry_run: bool) -> Self {
        Self {
            backfill,
            endpoint,
            sequence: OrderedDeliveries::default(),
            summary: Summary::default(),
            given: 0,
            claimed: dry_run.then(Claimed::default),
        }
    }

    pub fn summary(self) -> Summary {
        self.summary
    }

    /// The endpoint's name.
    pub fn endpoint(&self) -> &str {
        &self.endpoint.name
    }

    pub fn is_dry_run(&self) -> bool {
        self.claimed.is_some()
    }

    /// Memory that a dry run uses for its keys.
    pub fn claimed_bytes(&self) -> usize {
        self.claimed.as_ref().map_or(0, |claimed| claimed.0.len() * CLAIMED_BYTES)
    }

    /// Processes payloads, in order after all earlier ones.
    pub async fn take(&mut self, payloads: Vec<Bytes>) -> Result<(), BackfillError> {
        let mut payloads = payloads.into_iter();
        while payloads.len() > 0 {
            self.take_part(payloads.by_ref().take(APPENDED_AT_ONCE)).await?;
        }
        Ok(())
    }

    async fn take_part(&mut self, payloads: impl Iterator<Item = Bytes>) -> Result<(), BackfillError> {
        let mut fit = Vec::new();
        for payload in payloads {
            match self.delivery(payload) {
                Ok(delivery) => fit.push(delivery),
                Err(unfit) => self.refuse(unfit),
            }
            self.given += 1;
        }
        if self.claimed.is_some() { self.simulate(fit).await } else { self.append(fit).await }
    }

    fn refuse(&mut self, unfit: Unfit) {
        let Summary { refused, listed, .. } = &mut self.summary;
        if listed.len() < REFUSED_LISTED_MAX {
            listed.push((self.given, unfit));
        }
        *refused += 1;
    }

    /// Enqueues the deliveries one by one, which fixes their order. Then waits for all of them, so that they share
    /// commits.
    async fn append(&mut self, deliveries: Vec<Delivery>) -> Result<(), BackfillError> {
        let appender = self.backfill.appender.upgrade().ok_or(BackfillError::Closed)?;
        let mut enqueued = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            enqueued.push(appender.enqueue_in(&self.sequence, delivery).await?);
        }
        for enqueued in enqueued {
            self.count(enqueued.durable().await?.outcome);
        }
        Ok(())
    }

    fn count(&mut self, outcome: AppendOutcome) {
        match outcome {
            AppendOutcome::New => self.summary.imported += 1,
            AppendOutcome::Duplicate => self.summary.duplicates += 1,
            AppendOutcome::Conflict => self.summary.conflicts += 1,
        }
    }

    /// Counts the outcomes that appends of the deliveries would have.
    async fn simulate(&mut self, deliveries: Vec<Delivery>) -> Result<(), BackfillError> {
        let reader = self.backfill.reader.clone();
        let mut claimed = self.claimed.take().unwrap_or_default();
        let appends = move || {
            let outcomes: Result<Vec<_>, _> =
                deliveries.iter().map(|delivery| simulate_append(&reader, &mut claimed, delivery)).collect();
            Ok((outcomes?, claimed))
        };
        let (outcomes, claimed) = off_runtime(appends).await?;
        let too_many = claimed.0.len() > CLAIMED_MAX;
        self.claimed = Some(claimed);
        if too_many {
            return Err(BackfillError::TooManyKeys);
        }
        for outcome in outcomes {
            self.count(outcome);
        }
        Ok(())
    }

    fn delivery(&self, body: Bytes) -> Result<Delivery, Unfit> {
        if body.len() > self.backfill.body_limit {
            return Err(Unfit::TooLarge);
        }
        let body = Body::received(body);
        let parsed = body.parsed();
        if !parsed.is_readable {
            return Err(Unfit::NoObject);
        }
        let envelope = &parsed.envelope;
        if envelope.kind.is_none() {
            return Err(Unfit::NoType);
        }
        let mode = ModeVerdict::judge(envelope.api_mode.as_deref(), self.endpoint.api_mode);
        if mode.applies_to().is_none() {
            return Err(if mode == ModeVerdict::Mismatched { Unfit::OtherMode } else { Unfit::NoMode });
        }
        let key = Some(EventKey::of_import(envelope.id.as_deref(), &body));
        Ok(Delivery {
            tenant: self.endpoint.tenant.clone(),
            endpoint: self.endpoint.name.clone(),
            provenance: Provenance::Import,
            mode,
            key,
            webhook_id: String::new(),
            webhook_timestamp: String::new(),
            webhook_signature: String::new(),
            secret_label: String::new(),
            nonce: (self.backfill.nonces)(),
            body,
        })
    }
}

/// The keys that a dry run would have claimed, with the content of their events: prefixes of digests, so that entries
/// are small and of equal size. Equal prefixes of different digests make a count wrong, but no event.
#[derive(Default)]
struct Claimed(HashMap<[u8; 8], [u8; 4]>);

impl Claimed {
    fn claim(&mut self, key: &EventKey, content: &Hash) {
        self.0.insert(digest(key), prefix(content));
    }

    /// Whether the key's first event in this dry run has the same content. `None` if the key is not claimed.
    fn has_content(&self, key: &EventKey, content: &Hash) -> Option<bool> {
        self.0.get(&digest(key)).map(|first| *first == prefix(content))
    }
}

fn digest(key: &EventKey) -> [u8; 8] {
    prefix(&Sha256::digest(key.as_str()).into())
}

fn prefix<const N: usize>(hash: &Hash) -> [u8; N] {
    std::array::from_fn(|at| hash[at])
}

/// Returns the outcome that an append would have. Claims a new key.
fn simulate_append(reader: &Reader, claimed: &mut Claimed, delivery: &Delivery) -> Result<AppendOutcome, ReadError> {
    let Delivery { tenant, key: Some(key), body, .. } = delivery else { return Ok(AppendOutcome::New) };
    let content = fingerprint(body);
    let is_same = match claimed.has_content(key, &content) {
        Some(is_same) => Some(is_same),
        None => reader.find(tenant, key)?.map(|event| fingerprint(&event.delivery.body) == content),
    };
    Ok(match is_same {
        Some(true) => AppendOutcome::Duplicate,
        Some(false) => AppendOutcome::Conflict,
        None => {
            claimed.claim(key, &content);
            AppendOutcome::New
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_key_is_a_duplicate_or_a_conflict() {
        let mut claimed = Claimed::default();
        let first = EventKey::of(Some("a"), "");
        let other = EventKey::of(Some("b"), "");
        claimed.claim(&first, &[1; 32]);
        assert_eq!(claimed.has_content(&first, &[1; 32]), Some(true));
        assert_eq!(claimed.has_content(&first, &[2; 32]), Some(false));
        assert_eq!(claimed.has_content(&other, &[1; 32]), None);
    }
}
