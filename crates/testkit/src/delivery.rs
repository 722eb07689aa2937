//! Deliveries, as the door or an import passes them to the log. Knows no suite: each sets the fields that it checks.

use cleat::event::{Body, Delivery, EventKey, ModeVerdict, Provenance};

/// Returns a live webhook for tenant "acme" at endpoint "fasten". All that a request carries besides its body is empty.
pub fn webhook(key: Option<EventKey>, body: impl Into<Body>) -> Delivery {
    Delivery {
        tenant: "acme".into(),
        endpoint: "fasten".into(),
        provenance: Provenance::Webhook,
        mode: ModeVerdict::Live,
        key,
        webhook_id: String::new(),
        webhook_timestamp: String::new(),
        webhook_signature: String::new(),
        secret_label: String::new(),
        nonce: [0; 16],
        body: body.into(),
    }
}
