//! Owns the tests of the fold, and `Story`: given events, then state. A story is the fold alone and knows no log and no
//! thread; `world.rs` adds these.

mod connections;
mod exports;
mod fixtures;
mod generations;
mod intake;
mod kept;
mod lives;
mod order;
mod owners;
mod properties;
mod recording;
mod reference;
mod rules;
mod sizes;
mod stalls;
mod tolerance;
mod world;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::engine::Fold;
use super::entities::{Connection, Export, Realm};
use super::views::Views;
pub(super) use stalls::panic_if_planted;

use crate::event::{ApiMode, Contents, Delivery, Event, ModeVerdict, Position, Provenance, Timestamp};

const HOUR: i64 = 3_600_000_000;

/// Events one second apart, from `tenant` "acme" and in live mode unless stated otherwise.
struct Story {
    fold: Fold,
    /// Views after the last event.
    views: Arc<Views>,
    now: i64,
}

impl Story {
    fn new() -> Self {
        Self::with_ring(1000)
    }

    fn with_ring(len: usize) -> Self {
        let mut fold = Fold::new(len);
        Self { views: fold.publish(), fold, now: 0 }
    }

    fn given(self, body: &Value) -> Self {
        self.given_as(Provenance::Webhook, body)
    }

    fn given_as(mut self, provenance: Provenance, body: &Value) -> Self {
        let mut event = self.next("acme", ModeVerdict::Live, &serde_json::to_vec(body).unwrap());
        event.delivery.provenance = provenance;
        self.take(&event);
        self
    }

    /// Moves the clock, so that the next event is recorded at this hour.
    fn at(mut self, hour: i64) -> Self {
        self.now = hour * HOUR - 1_000_000;
        self
    }

    fn append(&mut self, tenant: &str, mode: ModeVerdict, body: &[u8]) {
        let event = self.next(tenant, mode, body);
        self.take(&event);
    }

    fn next(&mut self, tenant: &str, mode: ModeVerdict, body: &[u8]) -> Event {
        self.now += 1_000_000;
        event(self.views.position() + 1, self.now, tenant, mode, body)
    }

    fn take(&mut self, event: &Event) {
        self.fold.advance(event).unwrap();
        self.views = self.fold.publish();
    }

    fn live() -> Realm {
        Realm { tenant: "acme".into(), mode: ApiMode::Live }
    }

    fn connection(&self, id: &str) -> Arc<Connection> {
        self.views.connection(&Self::live(), id).unwrap()
    }

    fn export(&self, task_id: &str) -> Arc<Export> {
        self.views.export(&Self::live(), task_id).unwrap().unwrap().export
    }

    /// Returns the numbers of connections and exports in all realms.
    fn counts(&self) -> (usize, usize) {
        (self.views.connection_count(), self.views.export_count())
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now)
    }
}

fn event(position: Position, micros: i64, tenant: &str, mode: ModeVerdict, body: &[u8]) -> Event {
    let delivery = Delivery {
        tenant: tenant.into(),
        endpoint: "fasten".into(),
        provenance: Provenance::Webhook,
        mode,
        key: None,
        webhook_id: String::new(),
        webhook_timestamp: String::new(),
        webhook_signature: String::new(),
        secret_label: String::new(),
        nonce: [0; 16],
        body: Bytes::copy_from_slice(body).into(),
    };
    let mut chain = [0; 32];
    chain[..8].copy_from_slice(&position.to_be_bytes());
    Event {
        position,
        recorded_at: Timestamp::from_micros(micros),
        delivery,
        chain,
        conflict_of: None,
        contents: Contents::Whole,
    }
}

fn body(kind: &str, data: &Value) -> Value {
    json!({"api_mode": "live", "date": "2026-05-04T14:03:11Z", "id": "e", "type": kind, "data": data})
}

/// Returns a `connection_success` of connection "c".
fn attempt(status: &str) -> Value {
    body("patient.connection_success", &json!({"org_connection_id": "c", "connection_status": status}))
}

fn revocation() -> Value {
    body("patient.authorization_revoked", &json!({"org_connection_id": "c", "connection_status": "revoked"}))
}

/// Returns a success of task "t", for connection "c".
fn ready() -> Value {
    let data = json!({"org_connection_id": "c", "task_id": "t", "download_link": "https://x.test/1"});
    body("patient.ehi_export_success", &data)
}

/// Returns a failure of task "t", for connection "c".
fn failed(reason: &str) -> Value {
    let data = json!({"org_connection_id": "c", "task_id": "t", "failure_reason": reason});
    body("patient.ehi_export_failed", &data)
}

/// Returns a known text in the form of the state.
#[expect(clippy::unnecessary_wraps, reason = "what it is compared with may be absent")]
fn text(text: &str) -> Option<Arc<str>> {
    Some(text.into())
}
