//! Reads the report in a body. The bytes may be anything. Source: Fasten's "webhooks/events", all its versions.
//!
//! Never fails: an unreadable field or an empty string is absent. Fields are nested under `data`, or flat next to the
//! envelope's. Knows nothing of the meaning of a report for a state.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::kind::Kind;
use super::object::{Json, Object};
use super::report::{Attempt, Facts, Link, Outcome, Report, ReportKind, Stats};
use super::text::{Text, URL_BYTES_MAX, bounded, bounded_to};
use super::time::Timestamp;

/// 0001-01-01T00:00:00Z: the first instant that `google.protobuf.Timestamp` can represent.
const FIRST: Timestamp = Timestamp::from_micros(-62_135_596_800_000_000);

/// Reads the report. `None` if the event has another subject and changes no state. `date` is the envelope's.
pub(super) fn report(fields: &Object<'_>, kind: Kind, date: Option<&str>) -> Option<Report> {
    if matches!(kind, Kind::WEBHOOK_TEST | Kind::REQUEST_HEALTH_SYSTEM | Kind::REQUEST_SUPPORT) {
        return None;
    }
    let fields = Fields(fields);
    let date = date.and_then(instant);
    Some(Report { connection_id: fields.id("org_connection_id"), date, kind: fields.kind(kind) })
}

struct Fields<'a>(&'a Object<'a>);

impl Fields<'_> {
    fn kind(&self, kind: Kind) -> ReportKind {
        let status = || self.text("connection_status");
        match kind {
            Kind::CONNECTION_SUCCESS => {
                ReportKind::Attempt { status: status(), facts: self.facts(), attempt: self.attempt() }
            }
            Kind::AUTHORIZATION_REVOKED => ReportKind::Revocation { status: status(), facts: self.facts() },
            Kind::EHI_EXPORT_SUCCESS => {
                self.export(Outcome::Ready { links: self.links(), stats: self.stats().map(Arc::new) })
            }
            Kind::EHI_EXPORT_FAILED => self.export(Outcome::Failed { reason: self.text("failure_reason") }),
            _ => ReportKind::Unknown,
        }
    }

    fn text(&self, name: &str) -> Text {
        self.0.text(name).map(|text| shared(&text))
    }

    fn id(&self, name: &str) -> Text {
        self.0.id(name).map(|id| shared(&id))
    }

    fn facts(&self) -> Facts {
        Facts {
            external_id: self.id("external_id"),
            platform_type: self.text("platform_type"),
            endpoint_id: self.id("endpoint_id"),
            brand_id: self.id("brand_id"),
            portal_id: self.id("portal_id"),
            tefca_directory_id: self.id("tefca_directory_id"),
            org_id: self.id("org_id"),
        }
    }

    fn attempt(&self) -> Attempt {
        Attempt {
            // Fasten's table of fields has one spelling, its samples the other.
            request_id: self.id("request_id").or_else(|| self.id("request-id")),
            external_state: self.id("external_state"),
            scope: self.text("scope"),
            consent_expires_at: self.text("consent_expires_at").and_then(|text| instant(&text)),
        }
    }

    fn export(&self, outcome: Outcome) -> ReportKind {
        ReportKind::Export { task_id: self.id("task_id"), org_id: self.id("org_id"), outcome }
    }

    /// Links of the old field and the new one. Each field has one link or several, each link is an object or a bare
    /// URL. No URL comes twice.
    fn links(&self) -> Arc<[Link]> {
        let mut seen = BTreeSet::new();
        let links = ["download_links", "download_link"].into_iter().flat_map(|name| self.0.several(name));
        links.filter_map(link).filter(|link| seen.insert(link.url.clone())).collect()
    }

    fn stats(&self) -> Option<Stats> {
        let stats = self.0.object("stats")?;
        let by_type = stats.object("total_by_resource_type");
        let counts = by_type.iter().flat_map(Object::entries);
        let counts = counts.filter_map(|(kind, count)| Some((bounded(kind).into_owned(), count.number()?)));
        Some(Stats { total_resources: stats.number("total_resources"), total_by_resource_type: counts.collect() })
    }
}

fn link(written: Json<'_>) -> Option<Link> {
    let url = |text: &str| Arc::from(bounded_to(text, URL_BYTES_MAX));
    let Some(fields) = written.object() else {
        return Some(Link { url: url(&written.text()?), export_type: None, content_type: None });
    };
    let text = |name| fields.text(name).map(|text| shared(&text));
    Some(Link { url: url(&fields.text("url")?), export_type: text("export_type"), content_type: text("content_type") })
}

fn shared(text: &str) -> Arc<str> {
    Arc::from(bounded(text))
}

fn instant(text: &str) -> Option<Timestamp> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    let instant = Timestamp::from_micros(instant.as_microsecond());
    (instant >= FIRST).then_some(instant)
}
