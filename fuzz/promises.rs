//! What holds for any bytes whatever. The fuzzer looks for some that break it; `cargo test` tries all that it has found worth keeping.
#![allow(dead_code, reason = "each target takes one")]

use bytes::Bytes;
use cleat::event::{Delivery, Envelope, Event, EventKey, ModeVerdict, Object, Provenance, Timestamp, gist};
use cleat::fold::Fold;

/// Between two bodies.
const SEPARATOR: u8 = 0;
const HOUR: i64 = 3_600_000_000;

/// Reading never fails, tells nothing empty, and makes keys that are small; what a body tells does not depend on its id and date.
pub fn envelope(body: &[u8]) {
    let envelope = Envelope::read(body);
    let Envelope { id, kind, api_mode, date } = &envelope;
    assert!([id, kind, api_mode, date].into_iter().flatten().all(|text| !text.is_empty()));
    assert!(Object::read(body).is_some() || envelope == Envelope::default());
    let key = EventKey::of(id.as_deref(), "msg");
    assert!(key.as_str().len() <= 3 + 512 && key.as_str().contains(':'));
    ModeVerdict::judge(api_mode.as_deref(), None);
    let key = EventKey::of_import(id.as_deref(), body);
    assert!(key.as_str().len() <= 4 + 512 && key.conflict_of().is_none());
    assert_eq!(EventKey::of_conflict(7, &gist(body)).conflict_of(), Some(7));
    if let Some(redelivered) = redelivered(body) {
        assert_eq!(gist(&redelivered), gist(body));
    }
}

/// The same object with another date, as a retry has it: the last of two equal names counts.
fn redelivered(body: &[u8]) -> Option<Vec<u8>> {
    Object::read(body)?;
    let open = body.iter().rposition(|byte| *byte == b'}')?;
    let comma = if Object::read(body)?.entries().next().is_some() { "," } else { "" };
    Some([&body[..open], comma.as_bytes(), br#""date":"2026-01-01T00:00:00Z"}"#].concat())
}

/// The fold takes each, counts each, and its state can be walked; a second fold over the same ends in the same state.
pub fn fold(bodies: &[u8]) {
    let events: Vec<Event> = (1..).zip(bodies.split(|byte| *byte == SEPARATOR)).map(event).collect();
    let mut folds = [Fold::new(4), Fold::new(1000)];
    for event in &events {
        for fold in &mut folds {
            fold.advance(event).expect("without a change log nothing can fail");
        }
        // Only one is looked at meanwhile.
        assert_eq!(folds[0].publish().position(), event.position);
    }
    let [one, other] = folds.map(|mut fold| fold.publish());
    assert_eq!((one.connection_count(), one.export_count()), (other.connection_count(), other.export_count()));
    for realm in one.realms() {
        let connections =
            |views: &cleat::fold::Views| views.connections(&realm, None).map(|(_, it)| it).collect::<Vec<_>>();
        assert!(connections(&one) == connections(&other));
        assert!(connections(&one).iter().all(|it| it.trail.version <= events.len() as u64 && !it.id.is_empty()));
        for (task, slot) in one.exports(&realm, None) {
            let joined = one.join(&realm, &task, &slot).expect("all is in memory");
            assert!(other.export(&realm, &task.text()).expect("all is in memory") == Some(joined));
        }
    }
}

fn event((position, body): (u64, &[u8])) -> Event {
    let delivery = Delivery {
        tenant: "acme".into(),
        endpoint: "fasten".into(),
        provenance: [Provenance::Webhook, Provenance::Import][usize::from(position % 3 == 0)],
        mode: ModeVerdict::Live,
        key: None,
        webhook_id: String::new(),
        webhook_timestamp: String::new(),
        webhook_signature: String::new(),
        secret_label: String::new(),
        nonce: [0; 16],
        body: Bytes::copy_from_slice(body),
    };
    // Long enough for links to die now and then.
    let recorded_at = Timestamp::from_micros(1_790_000_000_000_000 + position.cast_signed() * 7 * HOUR);
    Event { position, recorded_at, delivery, chain: [1; 32] }
}
