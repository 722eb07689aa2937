//! Bodies of webhooks in the shape of Fasten's. Knows neither how cleat reads them nor the ids of a suite.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Date of the events whose date does not matter.
const DATE: &str = "2026-05-04T14:03:11Z";

/// Returns a live event.
pub fn event(kind: &str, id: &str, data: &Value) -> Value {
    dated(DATE, kind, id, data)
}

/// Returns a live event of this date.
pub fn dated(date: &str, kind: &str, id: &str, data: &Value) -> Value {
    json!({ "api_mode": "live", "date": date, "id": id, "type": kind, "data": data })
}

/// Returns a live event without a date.
pub fn undated(kind: &str, id: &str, data: &Value) -> Value {
    json!({ "api_mode": "live", "id": id, "type": kind, "data": data })
}

/// Returns the data of an event that revokes a connection.
pub fn revocation(connection: &str) -> Value {
    json!({ "org_connection_id": connection, "connection_status": "revoked", "platform_type": "epic" })
}

/// Returns at least `length` hexadecimal digits, which follow from the id. Compression halves them at most, while it
/// would leave nothing of equal digits.
pub fn filler(id: &str, length: usize) -> String {
    let mut filler = String::new();
    let mut state = id.bytes().fold(7_u64, |state, byte| state.wrapping_mul(31).wrapping_add(byte.into()));
    while filler.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        write!(filler, "{:08x}", state >> 32).unwrap();
    }
    filler
}
