//! Signatures of Standard Webhooks, made by the reference implementation. Knows nothing of how cleat verifies them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use standardwebhooks::Webhook;

/// Returns the three headers of a signed body. `timestamp` is in seconds since the epoch.
pub fn headers(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> [(&'static str, String); 3] {
    [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-signature", sign(secret, id, timestamp, body)),
    ]
}

/// Returns the value of the signature header.
pub fn sign(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> String {
    if std::str::from_utf8(body).is_ok() {
        Webhook::new(secret).unwrap().sign(id, timestamp, body).unwrap()
    } else {
        sign_bytes(secret, id, timestamp, body)
    }
}

/// Signs a body that is no text. The reference implementation signs only text.
fn sign_bytes(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> String {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(signed).finalize();
    format!("v1,{}", STANDARD.encode(mac.into_bytes()))
}
