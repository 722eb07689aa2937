//! Reads what a signed body reports, from bytes that may be anything. Source: Fasten's "webhooks/events", all its versions.
//!
//! Never fails: what cannot be read is absent, and so is an empty string. Fields are nested under `data`, or flat beside
//! the envelope's. What a report means for a state is not known here.

mod object;

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::Arc;

use serde_json::Value;

use self::object::Object;
use super::entity::Text;
use super::report::{Attempt, Facts, Link, Outcome, Report, Stats, Told};
use super::words::Words;
use crate::event::{Envelope, Timestamp};

/// 0001-01-01T00:00:00Z: the first instant that `google.protobuf.Timestamp` can tell.
const FIRST: Timestamp = Timestamp::from_micros(-62_135_596_800_000_000);

/// None for what changes no state: events of other concerns, and bodies that are no JSON object.
pub(super) fn read(body: &[u8], words: &mut Words) -> Option<Report> {
    let kind = Envelope::read(body).kind;
    let kind = kind.as_deref().unwrap_or_default();
    if matches!(kind, "webhook.test" | "patient.request_health_system" | "patient.request_support") {
        return None;
    }
    let fields = Fields::read(body)?;
    let mut told = fields.told(kind);
    told.share(words);
    Some(Report { connection_id: fields.text("org_connection_id"), told })
}

struct Fields<'a>(Object<'a>);

impl<'a> Fields<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let flat = Object::read(body)?;
        Some(Self(flat.object("data").unwrap_or(flat)))
    }

    fn told(&self, kind: &str) -> Told {
        let status = || self.text("connection_status");
        match kind {
            "patient.connection_success" => {
                Told::Attempt { status: status(), facts: self.facts(), attempt: self.attempt() }
            }
            "patient.authorization_revoked" => Told::Revocation { status: status(), facts: self.facts() },
            "patient.ehi_export_success" => {
                self.export(Outcome::Ready { links: self.links(), stats: self.stats().map(Arc::new) })
            }
            "patient.ehi_export_failed" => self.export(Outcome::Failed { reason: self.text("failure_reason") }),
            _ => Told::Unknown,
        }
    }

    fn text(&self, name: &str) -> Text {
        self.0.text(name).filter(|text| !text.is_empty()).map(Arc::from)
    }

    fn facts(&self) -> Facts {
        Facts {
            external_id: self.text("external_id"),
            platform_type: self.text("platform_type"),
            endpoint_id: self.text("endpoint_id"),
            brand_id: self.text("brand_id"),
            portal_id: self.text("portal_id"),
            tefca_directory_id: self.text("tefca_directory_id"),
            org_id: self.text("org_id"),
        }
    }

    fn attempt(&self) -> Attempt {
        Attempt {
            // Fasten's table of fields has the one spelling, its samples the other.
            request_id: self.text("request_id").or_else(|| self.text("request-id")),
            external_state: self.text("external_state"),
            scope: self.text("scope"),
            consent_expires_at: self.text("consent_expires_at").and_then(|text| instant(&text)),
        }
    }

    fn export(&self, outcome: Outcome) -> Told {
        Told::Export { task_id: self.text("task_id"), org_id: self.text("org_id"), outcome }
    }

    /// The old field and the new one, each with one link or several, each link an object or a bare URL; none twice.
    fn links(&self) -> Arc<[Link]> {
        let told = ["download_links", "download_link"].map(|name| self.0.value(name));
        let mut seen = BTreeSet::new();
        let links = told.iter().flat_map(|value| several(value.as_ref())).filter_map(link);
        links.filter(|link| seen.insert(link.url.clone())).collect()
    }

    fn stats(&self) -> Option<Stats> {
        let stats = self.0.value("stats")?;
        let stats = stats.as_object()?;
        let by_type = stats.get("total_by_resource_type").and_then(Value::as_object);
        let counts = by_type.into_iter().flatten().filter_map(|(kind, count)| Some((kind.clone(), count.as_u64()?)));
        Some(Stats {
            total_resources: stats.get("total_resources").and_then(Value::as_u64),
            total_by_resource_type: counts.collect::<BTreeMap<_, _>>(),
        })
    }
}

fn text(value: Option<&Value>) -> Text {
    value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(Arc::from)
}

fn several(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(values)) => values,
        Some(value) => slice::from_ref(value),
        None => &[],
    }
}

fn link(value: &Value) -> Option<Link> {
    match value {
        Value::Object(fields) => Some(Link {
            url: text(fields.get("url"))?,
            export_type: text(fields.get("export_type")),
            content_type: text(fields.get("content_type")),
        }),
        bare => Some(Link { url: text(Some(bare))?, export_type: None, content_type: None }),
    }
}

fn instant(text: &str) -> Option<Timestamp> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_micros(instant.as_microsecond())).filter(|instant| *instant >= FIRST)
}
