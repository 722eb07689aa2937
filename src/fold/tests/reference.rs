//! A second implementation of the rules in docs/rules.md: written from the words, apart from
//! the fold, and as plainly as possible. No sharing, no indexes, nothing fast. Where the two differ, the words decide
//! which one is wrong.

mod body;

use std::collections::BTreeMap;

use proptest::prelude::*;

use self::body::Body;
use super::properties::{events, realms};
use super::*;
use crate::event::{Attempt, Facts, Text};
use crate::fold::entities::{EventRef, ExportStatus, Lineage, RelativePosition, Status};

#[derive(PartialEq)]
pub(in crate::fold) struct Reference {
    pub connections: BTreeMap<(Realm, String), Connection>,
    pub exports: BTreeMap<(Realm, String), Export>,
}

impl Reference {
    #[expect(single_use_lifetimes, reason = "an elided one in `impl Trait` is unstable")]
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut reference = Self { connections: BTreeMap::new(), exports: BTreeMap::new() };
        for event in events {
            reference.apply(event);
        }
        reference
    }

    fn apply(&mut self, event: &Event) {
        if event.conflict_of.is_some() {
            return;
        }
        let Some(mode) = event.delivery.mode.applies_to() else { return };
        let Some(body) = Body::read(&event.delivery.body) else { return };
        if ["patient.request_health_system", "patient.request_support", "webhook.test"].contains(&&*body.kind) {
            return;
        }
        let realm = Realm { tenant: event.delivery.tenant.as_str().into(), mode };
        let event_ref = EventRef { position: event.position, recorded_at: event.recorded_at };
        if let Some(id) = body.id("org_connection_id") {
            let key = (realm.clone(), id.to_string());
            let connection = self.connections.entry(key).or_insert_with(|| new_connection(&realm, &id, event_ref));
            change_connection(connection, &body, event_ref, reported_at(event, &body));
        }
        if let Some(task_id) = body.id("task_id") {
            let reported_at = reported_at(event, &body);
            match &*body.kind {
                "patient.ehi_export_success" => self.set_export_ready(&realm, &task_id, &body, event_ref, reported_at),
                "patient.ehi_export_failed" => self.set_export_failed(&realm, &task_id, &body, event_ref, reported_at),
                _ => return,
            }
            let export = self.exports.get_mut(&(realm, task_id.to_string())).unwrap();
            if export.reported_at == Some(event_ref.recorded_at) {
                export.reported_at = None;
            }
        }
    }

    /// Sets the fields that events of both outcomes report. Returns the export that the event names.
    fn touch_export(&mut self, realm: &Realm, task_id: &Arc<str>, body: &Body, event_ref: EventRef) -> &mut Export {
        let key = (realm.clone(), task_id.to_string());
        let export = self.exports.entry(key).or_insert_with(|| new_export(realm, task_id, event_ref));
        if export.lineage.version > 0 && export.reported_at.is_none() {
            export.reported_at = Some(export.lineage.last.recorded_at);
        }
        export.lineage.version += 1;
        export.lineage.last = event_ref;
        replace_if_reported(&mut export.connection_id, body.id("org_connection_id"));
        replace_if_reported(&mut export.org_id, body.id("org_id"));
        export
    }

    fn set_export_ready(
        &mut self,
        realm: &Realm,
        task_id: &Arc<str>,
        body: &Body,
        event_ref: EventRef,
        reported_at: Timestamp,
    ) {
        let export = self.touch_export(realm, task_id, body, event_ref);
        if export.reported_at.is_some_and(|last| last > reported_at) {
            // History: takes only values that were never reported before.
            if export.deadline.is_none() {
                export.deadline = Some(reported_at.plus_micros(24 * HOUR));
                export.links = body.links().into();
            }
            export.stats = export.stats.clone().or(body.stats().map(Arc::new));
            return;
        }
        export.reported_at = Some(reported_at);
        export.status = ExportStatus::Ready;
        export.failure_reason = None;
        let links = body.links();
        if let Some(stats) = body.stats() {
            export.stats = Some(Arc::new(stats));
        }
        let is_first_or_new = match export.deadline {
            None => true,
            Some(deadline) => reported_at > deadline,
        };
        if is_first_or_new || !links.is_empty() {
            export.links = links.into();
        }
        if is_first_or_new {
            export.deadline = Some(reported_at.plus_micros(24 * HOUR));
        }
        export.after_revocation = false;
        if let Some(connection_id) = export.connection_id.clone() {
            let connection = &self.connections[&(realm.clone(), connection_id.to_string())];
            let has_status_by_then = connection.status_date.is_none_or(|date| date <= reported_at);
            let after_revocation = connection.status == Status::Revoked && has_status_by_then;
            self.exports.get_mut(&(realm.clone(), task_id.to_string())).unwrap().after_revocation = after_revocation;
        }
    }

    /// Links, stats and deadline of an earlier success stay.
    fn set_export_failed(
        &mut self,
        realm: &Realm,
        task_id: &Arc<str>,
        body: &Body,
        event_ref: EventRef,
        reported_at: Timestamp,
    ) {
        let export = self.touch_export(realm, task_id, body, event_ref);
        if export.reported_at.is_some_and(|last| last > reported_at) {
            return;
        }
        export.reported_at = Some(reported_at);
        export.status = ExportStatus::Failed;
        export.failure_reason = body.text("failure_reason");
        export.after_revocation = false;
    }
}

/// Returns the time at which an event was reported. For a webhook this is its recording time. For others it is the time
/// at which the delivery was attempted, as far as that is known.
fn reported_at(event: &Event, body: &Body) -> Timestamp {
    match body.envelope_date() {
        Some(date) if event.delivery.provenance != Provenance::Webhook && date < event.recorded_at => date,
        _ => event.recorded_at,
    }
}

fn new_connection(realm: &Realm, id: &Arc<str>, event_ref: EventRef) -> Connection {
    Connection {
        realm: realm.clone(),
        id: id.clone(),
        status: Status::Unknown,
        reported_status: None,
        status_recorded_at: None,
        status_date: None,
        order_ambiguous: false,
        last_was_late: false,
        was_revoked: false,
        facts: Arc::default(),
        attempt: Arc::default(),
        described_at: RelativePosition(event_ref.position),
        reconnect_count: 0,
        last_reconnected_at: None,
        last_export_at: None,
        needs_reconnect: false,
        lineage: Lineage { version: 0, first: event_ref, last: event_ref },
    }
}

fn new_export(realm: &Realm, task_id: &Arc<str>, event_ref: EventRef) -> Export {
    Export {
        realm: realm.clone(),
        task_id: task_id.clone(),
        status: ExportStatus::Failed,
        failure_reason: None,
        connection_id: None,
        org_id: None,
        links: Arc::new([]),
        stats: None,
        deadline: None,
        after_revocation: false,
        reported_at: None,
        lineage: Lineage { version: 0, first: event_ref, last: event_ref },
    }
}

fn change_connection(connection: &mut Connection, body: &Body, event_ref: EventRef, reported_at: Timestamp) {
    let before = connection.clone();
    apply_report(connection, body, event_ref, reported_at);
    let unchanged = Connection {
        last_was_late: before.last_was_late,
        needs_reconnect: before.needs_reconnect,
        last_export_at: before.last_export_at,
        lineage: before.lineage,
        ..connection.clone()
    };
    if unchanged != before {
        connection.described_at = RelativePosition(event_ref.position);
    }
}

fn apply_report(connection: &mut Connection, body: &Body, event_ref: EventRef, reported_at: Timestamp) {
    connection.lineage.version += 1;
    connection.lineage.last = event_ref;
    connection.last_was_late = false;
    let word = body.text("connection_status");
    let date = match body.envelope_date() {
        Some(date) if date < event_ref.recorded_at => date,
        _ => event_ref.recorded_at,
    };
    let reports_status = ["patient.connection_success", "patient.authorization_revoked"].contains(&&*body.kind);
    if reports_status && connection.status_date.is_some_and(|newest| date.plus_micros(24 * HOUR) < newest) {
        learn_history(connection, body);
        return;
    }
    match &*body.kind {
        "patient.connection_success" => {
            learn_facts(Arc::make_mut(&mut connection.facts), body);
            connection.attempt = Arc::new(Attempt {
                request_id: body.id("request_id").or(body.id("request-id")),
                external_state: body.id("external_state"),
                scope: body.text("scope"),
                consent_expires_at: body.date("consent_expires_at"),
            });
            match word.as_deref() {
                None => {}
                Some("authorized") => set_status(connection, Status::Authorized, word, event_ref, date),
                Some("rejected") => set_status(connection, Status::Rejected, word, event_ref, date),
                Some("revoked") => set_status(connection, Status::Revoked, word, event_ref, date),
                Some(_) => set_status(connection, Status::Unrecognized, word, event_ref, date),
            }
        }
        "patient.authorization_revoked" => {
            learn_facts(Arc::make_mut(&mut connection.facts), body);
            set_status(connection, Status::Revoked, word, event_ref, date);
        }
        "patient.ehi_export_success" => {
            connection.last_export_at = Some(event_ref.recorded_at);
            replace_if_reported(&mut Arc::make_mut(&mut connection.facts).org_id, body.id("org_id"));
        }
        "patient.ehi_export_failed" => {
            connection.last_export_at = Some(event_ref.recorded_at);
            replace_if_reported(&mut Arc::make_mut(&mut connection.facts).org_id, body.id("org_id"));
            let old = connection.status_date.is_some_and(|reported| reported_at < reported);
            if body.text("failure_reason").as_deref() == Some("token_refresh_failure") && !old {
                connection.needs_reconnect = true;
            }
        }
        _ => {}
    }
}

/// Takes facts that are reported for the first time, although the event is old.
fn learn_history(connection: &mut Connection, body: &Body) {
    connection.last_was_late = true;
    let known = connection.facts.clone();
    let facts = Arc::make_mut(&mut connection.facts);
    learn_facts(facts, body);
    replace_if_reported(&mut facts.external_id, known.external_id.clone());
    replace_if_reported(&mut facts.platform_type, known.platform_type.clone());
    replace_if_reported(&mut facts.endpoint_id, known.endpoint_id.clone());
    replace_if_reported(&mut facts.brand_id, known.brand_id.clone());
    replace_if_reported(&mut facts.portal_id, known.portal_id.clone());
    replace_if_reported(&mut facts.tefca_directory_id, known.tefca_directory_id.clone());
    replace_if_reported(&mut facts.org_id, known.org_id.clone());
}

fn learn_facts(facts: &mut Facts, body: &Body) {
    replace_if_reported(&mut facts.external_id, body.id("external_id"));
    replace_if_reported(&mut facts.platform_type, body.text("platform_type"));
    replace_if_reported(&mut facts.endpoint_id, body.id("endpoint_id"));
    replace_if_reported(&mut facts.brand_id, body.id("brand_id"));
    replace_if_reported(&mut facts.portal_id, body.id("portal_id"));
    replace_if_reported(&mut facts.tefca_directory_id, body.id("tefca_directory_id"));
    replace_if_reported(&mut facts.org_id, body.id("org_id"));
}

fn set_status(connection: &mut Connection, status: Status, word: Text, event_ref: EventRef, date: Timestamp) {
    if status == Status::Revoked {
        connection.was_revoked = true;
    }
    if connection.was_revoked && status == Status::Authorized {
        connection.was_revoked = false;
        connection.reconnect_count += 1;
        connection.last_reconnected_at = Some(event_ref.recorded_at);
    }
    // Two words that we do not know are two statuses.
    let repeated =
        connection.status == status && (status != Status::Unrecognized || connection.reported_status == word);
    if !repeated {
        connection.status_recorded_at = Some(event_ref.recorded_at);
    }
    match connection.status_date {
        None => connection.status_date = Some(date),
        Some(newest) => {
            // The two may have happened in either order if a day does not separate them.
            if date.as_micros() - 24 * HOUR > newest.as_micros() {
                connection.order_ambiguous = false;
            } else if !repeated {
                connection.order_ambiguous = true;
            }
            if date > newest {
                connection.status_date = Some(date);
            }
        }
    }
    if status == Status::Authorized {
        connection.needs_reconnect = false;
    }
    connection.status = status;
    connection.reported_status = word;
}

fn replace_if_reported(known: &mut Text, reported: Text) {
    if reported.is_some() {
        *known = reported;
    }
}

/// Returns the content of the views, in the reference's form.
pub(super) fn held(views: &Views) -> Reference {
    let mut held = Reference { connections: BTreeMap::new(), exports: BTreeMap::new() };
    for realm in realms() {
        for (id, connection) in views.connections(&realm, None) {
            held.connections.insert((realm.clone(), id.text().to_string()), Connection::clone(&connection));
        }
        for (task_id, slot) in views.exports(&realm, None) {
            let joined = views.join(&realm, &task_id, &slot).unwrap();
            held.exports.insert((realm.clone(), task_id.text().to_string()), Export::clone(&joined.export));
        }
    }
    held
}

/// Returns the content of events, which they normally hide. These hold no data of real people.
fn listed(events: &[Event]) -> String {
    let line = |event: &Event| {
        let Delivery { tenant, mode, body, .. } = &event.delivery;
        format!("{} {tenant} {mode:?} {}\n", event.recorded_at.as_micros(), String::from_utf8_lossy(body))
    };
    events.iter().map(line).collect()
}

proptest! {
    #[test]
    fn the_fold_ends_where_the_written_rules_end(events in events()) {
        let mut fold = Fold::new(100);
        for event in &events {
            fold.advance(event).unwrap();
        }
        let views = fold.publish();
        let expected = Reference::of(&events);
        let held = held(&views);
        prop_assert!(held.connections == expected.connections, "connections after\n{}", listed(&events));
        prop_assert!(held.exports == expected.exports, "exports after\n{}", listed(&events));
        let counts = (views.connection_count(), views.export_count());
        prop_assert_eq!(counts, (expected.connections.len(), expected.exports.len()), "no realm is left out");
    }
}
