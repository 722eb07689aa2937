//! The standard workload: deliveries like a busy organisation's, made from a seed. It knows only the shape of a
//! delivery, and names nothing else of this crate: the unit tests of the log's format include this file.
//!
//! Per connection one `connection_success`, on average 8 `ehi_export_success` (a third with full stats), 0.7
//! `ehi_export_failed`, 5 % revoked, 2 % reconnected, the rest other types. They are interleaved at random over all
//! connections made before. UUIDs, task ids, request ids and nonces are fresh; each signature is real; three
//! connections share an external id.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cleat::event::{Delivery, EventKey, ModeVerdict, Provenance};
use hmac::{Hmac, KeyInit, Mac};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::Sha256;

/// Secret that signs every delivery.
pub const SECRET: &[u8] = b"a benchmark's secret, not a real one";
const PLATFORMS: [&str; 5] = ["epic", "cerner", "athena", "tefca", "nextgen"];
const FAILURES: [&str; 3] = ["suppressed_please_contact", "token_refresh_failure", "resource_invalid_content"];
const RESOURCES: [&str; 6] = ["Patient", "Observation", "Condition", "Encounter", "DocumentReference", "Procedure"];

/// An endless stream of deliveries, the same for the same seed.
pub struct Workload {
    rng: StdRng,
    seed: u64,
    connections: u64,
    made: u64,
    seconds: Box<dyn Fn(u64) -> u64 + Send>,
}

impl Workload {
    /// Returns the stream of a seed. `seconds` gives the time of the nth delivery, in seconds since the epoch.
    pub fn new(seed: u64, seconds: impl Fn(u64) -> u64 + Send + 'static) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), seed, connections: 0, made: 0, seconds: Box::new(seconds) }
    }

    fn uuid(rng: &mut StdRng) -> String {
        let (a, b): (u64, u64) = (rng.random(), rng.random());
        let (time, mid, low) = (a >> 32, a >> 16 & 0xffff, a & 0x0fff);
        format!("{time:08x}-{mid:04x}-4{low:03x}-{:04x}-{:012x}", 0x8000 | b >> 50, b & 0xffff_ffff_ffff)
    }

    /// Returns the id of a connection and the generator of its other permanent fields. Both follow from its number.
    fn of_connection(&self, number: u64) -> (StdRng, String) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let id = Self::uuid(&mut rng);
        (rng, id)
    }

    fn data(&mut self) -> (&'static str, String) {
        let new = self.connections == 0 || self.rng.random_ratio(1, 10);
        if new {
            self.connections += 1;
            return ("patient.connection_success", self.connected(self.connections - 1));
        }
        let number = self.rng.random_range(0..self.connections);
        match self.rng.random_range(0..900u32) {
            0..800 => ("patient.ehi_export_success", self.exported(number)),
            800..870 => ("patient.ehi_export_failed", self.failed(number)),
            870..875 => ("patient.authorization_revoked", self.revoked(number)),
            875..877 => ("patient.connection_success", self.connected(number)),
            877..890 => ("webhook.test", format!(r#"{{"hello":"world","random":"{}"}}"#, self.rng.random::<u64>())),
            _ => ("patient.request_health_system", r#"{"email":"pat@example.org","name":"Nowhere Clinic"}"#.into()),
        }
    }

    fn catalog(rng: &mut StdRng) -> String {
        // The catalogue has 4,000 entries, so connections share its ids.
        let entry = rng.random_range(0..4000u32);
        format!(
            r#""endpoint_id":"e0000000-0000-4000-8000-{entry:012x}","brand_id":"b0000000-0000-4000-8000-{entry:012x}","portal_id":"c0000000-0000-4000-8000-{entry:012x}","platform_type":"{}""#,
            PLATFORMS[entry as usize % PLATFORMS.len()]
        )
    }

    fn connected(&mut self, number: u64) -> String {
        let (mut rng, id) = self.of_connection(number);
        let (catalog, request) = (Self::catalog(&mut rng), Self::uuid(&mut self.rng));
        let (seed, external, attempt): (u64, u64, u32) = (self.seed, number / 3, self.rng.random());
        format!(
            r#"{{"org_connection_id":"{id}",{catalog},"connection_status":"authorized","request_id":"{request}","external_id":"user-{seed}-{external}","external_state":"attempt-{attempt:08x}","scope":"openid fhirUser offline_access patient/*.read","consent_expires_at":"2026-12-04T00:00:00Z"}}"#
        )
    }

    fn revoked(&mut self, number: u64) -> String {
        let (mut rng, id) = self.of_connection(number);
        let catalog = Self::catalog(&mut rng);
        format!(r#"{{"org_connection_id":"{id}",{catalog},"connection_status":"revoked"}}"#)
    }

    fn exported(&mut self, number: u64) -> String {
        let (_, id) = self.of_connection(number);
        let task: u128 = self.rng.random();
        let total = self.rng.random_range(8..4000u32);
        let stats = if self.rng.random_ratio(1, 3) {
            let counts = RESOURCES.map(|name| format!(r#""{name}":{}"#, self.rng.random_range(1..900u32)));
            format!(r#"{{"total_resources":{total},"total_by_resource_type":{{{}}}}}"#, counts.join(","))
        } else {
            format!(r#"{{"total_resources":{total}}}"#)
        };
        format!(
            r#"{{"download_links":[{{"url":"https://api.connect.fastenhealth.com/v1/bridge/fhir/ehi-export/{task:032x}/download/2026-06-12-{}.jsonl","export_type":"jsonl","content_type":"application/fhir+ndjson"}}],"org_connection_id":"{id}","task_id":"{task:032x}","org_id":"d0000000-0000-4000-8000-000000000014","stats":{stats}}}"#,
            Self::uuid(&mut self.rng)
        )
    }

    fn failed(&mut self, number: u64) -> String {
        let (_, id) = self.of_connection(number);
        let task: u128 = self.rng.random();
        let reason = FAILURES[self.rng.random_range(0..FAILURES.len())];
        format!(
            r#"{{"failure_reason":"{reason}","org_connection_id":"{id}","task_id":"{task:032x}","org_id":"d0000000-0000-4000-8000-000000000014"}}"#
        )
    }
}

impl Iterator for Workload {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        let id = Self::uuid(&mut self.rng);
        let (kind, data) = self.data();
        let now = (self.seconds)(self.made);
        self.made += 1;
        let date = jiff::Timestamp::from_second(now.cast_signed()).ok()?;
        let body = format!(r#"{{"api_mode":"live","date":"{date}","id":"{id}","type":"{kind}","data":{data}}}"#);
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).ok()?;
        mac.update(format!("{id}.{now}.{body}").as_bytes());
        Some(Delivery {
            tenant: "default".into(),
            endpoint: "fasten".into(),
            provenance: Provenance::Webhook,
            mode: ModeVerdict::Live,
            key: Some(EventKey::of(Some(&id), "")),
            webhook_timestamp: now.to_string(),
            webhook_signature: format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())),
            webhook_id: id,
            secret_label: "1".into(),
            nonce: self.rng.random(),
            body: body.into(),
        })
    }
}
