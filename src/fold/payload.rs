//! Reads what a signed body reports, from bytes that may be anything. Source: Fasten's "webhooks/events", all its versions.
//!
//! Never fails: what cannot be read is absent, and so is an empty string. Fields are nested under `data`, or flat beside
//! the envelope's. What a report means for a state is not known here.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::entity::{Text, URL_BYTES_MAX, bounded, bounded_to};
use super::report::{Attempt, Facts, Link, Outcome, Report, Stats, Told};
use super::words::Words;
use crate::event::{Envelope, Json, Object, Timestamp};

/// 0001-01-01T00:00:00Z: the first instant that `google.protobuf.Timestamp` can tell.
const FIRST: Timestamp = Timestamp::from_micros(-62_135_596_800_000_000);

/// None for what changes no state: events of other concerns, and bodies that are no JSON object.
pub(super) fn read(body: &[u8], words: &mut Words) -> Option<Report> {
    let body = Object::read(body)?;
    let Envelope { kind, date, .. } = Envelope::of(&body);
    let kind = kind.as_deref().unwrap_or_default();
    if matches!(kind, "webhook.test" | "patient.request_health_system" | "patient.request_support") {
        return None;
    }
    let fields = Fields(body.object("data").unwrap_or(body));
    let mut told = fields.told(kind);
    told.share(words);
    let date = date.and_then(|date| instant(&date));
    Some(Report { connection_id: fields.id("org_connection_id"), date, second_hand: false, told })
}

struct Fields<'a>(Object<'a>);

impl Fields<'_> {
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
            // Fasten's table of fields has the one spelling, its samples the other.
            request_id: self.id("request_id").or_else(|| self.id("request-id")),
            external_state: self.id("external_state"),
            scope: self.text("scope"),
            consent_expires_at: self.text("consent_expires_at").and_then(|text| instant(&text)),
        }
    }

    fn export(&self, outcome: Outcome) -> Told {
        Told::Export { task_id: self.id("task_id"), org_id: self.id("org_id"), outcome }
    }

    /// The old field and the new one, each with one link or several, each link an object or a bare URL; none twice.
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
    Some(Timestamp::from_micros(instant.as_microsecond())).filter(|instant| *instant >= FIRST)
}
