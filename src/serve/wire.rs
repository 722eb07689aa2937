//! Conversion from the domain to the wire. Decides nothing except which fields a caller may not see.

use crate::event::{ApiMode, BodySummary, Event, Identity, Link, ModeVerdict, Provenance, Stats, Text, Timestamp};
use crate::fold::{Connection, ExportStatus, JoinedExport, Status};
use crate::proto;
use crate::serve::principal::Principal;

pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// Converts a timestamp of the wire. `None` if it is out of range.
pub fn micros(time: &prost_types::Timestamp) -> Option<Timestamp> {
    let micros = time.seconds.checked_mul(1_000_000)?.checked_add(i64::from(time.nanos / 1000))?;
    (0..1_000_000_000).contains(&time.nanos).then(|| Timestamp::from_micros(micros))
}

/// Identity of a log in hexadecimal, 32 digits for each part.
pub struct IdentityText {
    pub log_id: String,
    pub epoch: String,
}

pub fn identity(identity: Identity) -> IdentityText {
    IdentityText { log_id: format!("{:032x}", identity.log_id), epoch: format!("{:032x}", identity.epoch) }
}

fn text(text: &Text) -> String {
    text.as_deref().unwrap_or_default().to_owned()
}

fn mode(mode: ApiMode) -> proto::ApiMode {
    match mode {
        ApiMode::Live => proto::ApiMode::Live,
        ApiMode::Test => proto::ApiMode::Test,
    }
}

pub fn status(status: Status) -> proto::ConnectionStatus {
    match status {
        Status::Unknown => proto::ConnectionStatus::Unknown,
        Status::Authorized => proto::ConnectionStatus::Authorized,
        Status::Rejected => proto::ConnectionStatus::Rejected,
        Status::Revoked => proto::ConnectionStatus::Revoked,
        Status::Unrecognized => proto::ConnectionStatus::Unrecognized,
    }
}

fn export_status(status: ExportStatus) -> proto::ExportStatus {
    match status {
        ExportStatus::Ready => proto::ExportStatus::Ready,
        ExportStatus::Failed => proto::ExportStatus::Failed,
    }
}

pub fn connection(connection: &Connection) -> proto::Connection {
    let Connection { realm, facts, attempt, lineage, .. } = connection;
    proto::Connection {
        tenant: realm.tenant.as_ref().to_owned(),
        api_mode: mode(realm.mode).into(),
        org_connection_id: connection.id.as_ref().to_owned(),
        status: status(connection.status).into(),
        reported_status: text(&connection.reported_status),
        external_id: text(&facts.external_id),
        external_state: text(&attempt.external_state),
        request_id: text(&attempt.request_id),
        scope: text(&attempt.scope),
        consent_expires_at: attempt.consent_expires_at.map(timestamp),
        platform_type: text(&facts.platform_type),
        endpoint_id: text(&facts.endpoint_id),
        brand_id: text(&facts.brand_id),
        portal_id: text(&facts.portal_id),
        tefca_directory_id: text(&facts.tefca_directory_id),
        org_id: text(&facts.org_id),
        version: lineage.version,
        first_position: lineage.first.position,
        last_position: lineage.last.position,
        first_recorded_at: Some(timestamp(lineage.first.recorded_at)),
        last_recorded_at: Some(timestamp(lineage.last.recorded_at)),
        status_recorded_at: connection.status_recorded_at.map(timestamp),
        reconnect_count: connection.reconnect_count,
        last_reconnected_at: connection.last_reconnected_at.map(timestamp),
        needs_reconnect: connection.needs_reconnect,
        order_ambiguous: connection.order_ambiguous,
        last_export_recorded_at: connection.last_export_at.map(timestamp),
    }
}

pub fn export(joined: &JoinedExport, principal: &Principal) -> proto::Export {
    let export = &joined.export;
    let links = if principal.sees_links() { &*export.links } else { &[] };
    proto::Export {
        tenant: export.realm.tenant.as_ref().to_owned(),
        api_mode: mode(export.realm.mode).into(),
        task_id: export.task_id.as_ref().to_owned(),
        status: export_status(export.status).into(),
        failure_reason: text(&export.failure_reason),
        org_connection_id: text(&export.connection_id),
        external_id: joined.external_id().unwrap_or_default().to_owned(),
        org_id: text(&export.org_id),
        links: links.iter().map(link).collect(),
        stats: export.stats.as_deref().map(stats),
        first_recorded_at: Some(timestamp(export.lineage.first.recorded_at)),
        deadline: export.deadline.map(timestamp),
        after_revocation: export.after_revocation,
        version: export.lineage.version,
        first_position: export.lineage.first.position,
        last_position: export.lineage.last.position,
        last_recorded_at: Some(timestamp(export.lineage.last.recorded_at)),
    }
}

pub fn link(link: &Link) -> proto::ExportLink {
    proto::ExportLink {
        url: link.url.as_ref().to_owned(),
        export_type: text(&link.export_type),
        content_type: text(&link.content_type),
    }
}

fn stats(stats: &Stats) -> proto::ExportStats {
    proto::ExportStats {
        total_resources: stats.total_resources,
        total_by_resource_type: stats
            .total_by_resource_type
            .iter()
            .map(|(kind, count)| (kind.clone(), *count))
            .collect(),
    }
}

pub fn event(event: Event, summary: BodySummary, principal: &Principal) -> proto::Event {
    let delivery = event.delivery;
    let conflict_of = event.conflict_of.unwrap_or_default();
    proto::Event {
        position: event.position,
        endpoint: delivery.endpoint,
        recorded_at: Some(timestamp(event.recorded_at)),
        event_key: delivery.key.map(|key| key.as_str().to_owned()).unwrap_or_default(),
        provenance: provenance(delivery.provenance).into(),
        mode_verdict: verdict(delivery.mode).into(),
        api_mode: delivery.mode.applies_to().map_or(proto::ApiMode::Unspecified, mode).into(),
        r#type: summary.kind,
        unreadable: summary.is_unreadable,
        conflict_of,
        webhook_id: delivery.webhook_id,
        webhook_timestamp: delivery.webhook_timestamp,
        webhook_signature: delivery.webhook_signature,
        secret_label: delivery.secret_label,
        body: if principal.sees_bodies() { delivery.body.into_bytes() } else { bytes::Bytes::new() },
        tenant: delivery.tenant,
    }
}

fn provenance(provenance: Provenance) -> proto::Provenance {
    match provenance {
        Provenance::Webhook => proto::Provenance::Webhook,
        Provenance::Import => proto::Provenance::Import,
        Provenance::Local => proto::Provenance::Local,
    }
}

fn verdict(verdict: ModeVerdict) -> proto::ModeVerdict {
    match verdict {
        ModeVerdict::Live | ModeVerdict::Test => proto::ModeVerdict::Matched,
        ModeVerdict::Mismatched => proto::ModeVerdict::Mismatched,
        ModeVerdict::Unknown => proto::ModeVerdict::Unknown,
    }
}
