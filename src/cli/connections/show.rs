//! Formats connections for a person.

use cleat::proto::{Connection, ConnectionEvent, ConnectionStatus, SummarizeConnectionsResponse};

use crate::cli::exports;
use crate::cli::format::{self, or_dash, time, yes};

pub const HEADER: [&str; 6] = ["CONNECTION", "STATUS", "EXTERNAL ID", "PLATFORM", "VERSION", "POSITION"];
pub const EVENT_HEADER: [&str; 5] = ["POSITION", "RECORDED", "TYPE", "STATUS", "NOTES"];

fn status(connection: &Connection) -> String {
    match connection.status() {
        ConnectionStatus::Unrecognized => connection.reported_status.clone(),
        known => word(known),
    }
}

fn word(status: ConnectionStatus) -> String {
    format::word(status.as_str_name(), "CONNECTION_STATUS_")
}

/// The row of one event in a history.
pub fn event(event: &ConnectionEvent) -> Vec<String> {
    let connection = event.connection.as_ref();
    let mut notes = Vec::new();
    if event.late {
        notes.push("late".to_owned());
    }
    if connection.is_some_and(|connection| connection.order_ambiguous) {
        notes.push("order ambiguous".to_owned());
    }
    notes.extend(event.exports.iter().map(|export| format!("export {} {}", export.task_id, exports::status(export))));
    vec![
        event.position.to_string(),
        time(event.recorded_at),
        event.r#type.clone(),
        connection.map(status).unwrap_or_default(),
        notes.join(", "),
    ]
}

/// The number of connections by status and by platform, and of those that need attention.
pub fn summary(summary: &SummarizeConnectionsResponse) -> Vec<Vec<String>> {
    let statuses = summary.statuses.iter().map(|count| (word(count.status()), count.count));
    let platform = |name: &String| if name.is_empty() { "no platform".to_owned() } else { format!("platform {name}") };
    let platforms = summary.platforms.iter().map(|count| (platform(&count.platform_type), count.count));
    let flags = [("needs reconnect", summary.needs_reconnect), ("order ambiguous", summary.order_ambiguous)];
    let flags = flags.into_iter().map(|(name, count)| (name.to_owned(), count));
    let all = std::iter::once(("connections".to_owned(), summary.total)).chain(statuses).chain(platforms).chain(flags);
    all.map(|(name, count)| vec![name, count.to_string()]).collect()
}

pub fn row(connection: &Connection) -> Vec<String> {
    let Connection { org_connection_id, external_id, platform_type, version, last_position, .. } = connection;
    vec![
        org_connection_id.clone(),
        status(connection),
        or_dash(external_id),
        or_dash(platform_type),
        version.to_string(),
        last_position.to_string(),
    ]
}

/// Everything known about one connection, one fact a line.
pub fn facts(connection: &Connection) -> Vec<Vec<String>> {
    format::facts([
        ("connection", connection.org_connection_id.clone()),
        ("status", status(connection)),
        ("status since", time(connection.status_recorded_at)),
        ("external id", connection.external_id.clone()),
        ("external state", connection.external_state.clone()),
        ("request id", connection.request_id.clone()),
        ("scope", connection.scope.clone()),
        ("consent expires", time(connection.consent_expires_at)),
        ("platform", connection.platform_type.clone()),
        ("endpoint", connection.endpoint_id.clone()),
        ("brand", connection.brand_id.clone()),
        ("portal", connection.portal_id.clone()),
        ("tefca directory", connection.tefca_directory_id.clone()),
        ("organisation", connection.org_id.clone()),
        ("order ambiguous", yes(connection.order_ambiguous)),
        ("needs reconnect", yes(connection.needs_reconnect)),
        ("version", connection.version.to_string()),
        ("last position", connection.last_position.to_string()),
        ("last recorded", time(connection.last_recorded_at)),
    ])
}
