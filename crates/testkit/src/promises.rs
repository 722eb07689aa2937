//! Promises that hold for any bytes. The fuzzer searches for bytes that break one; `cargo test` replays every input
//! that the fuzzer found and that is kept. Knows neither the fuzzer nor where inputs are kept.

use std::collections::BTreeSet;

use bytes::Bytes;
use cleat::event::{
    Contents, Delivery, Envelope, Event, EventKey, Identity, ModeVerdict, Object, Provenance, Timestamp, fingerprint,
};
use cleat::fold::{ExportQuery, Fold};
use cleat::log::fuzzing;
use cleat::segment::{AtOnce, Segment, SegmentHeader, SegmentName, SegmentWriter};

use crate::delivery::webhook;

/// Separates two bodies.
const SEPARATOR: u8 = 0;
const HOUR: i64 = 3_600_000_000;

/// Checks that reading never fails, returns no empty text and makes only small keys, and that the fingerprint of a body does
/// not depend on its date.
pub fn envelope(body: &[u8]) {
    let envelope = Envelope::read(body);
    let Envelope { id, kind, api_mode, date } = &envelope;
    assert!([id, kind, api_mode, date].into_iter().flatten().all(|text| !text.is_empty()));
    assert!(Object::read(body).is_some() || envelope == Envelope::default());
    let key = EventKey::of(id.as_deref(), "msg");
    assert!(key.as_str().len() <= 3 + 512 && key.as_str().contains(':'));
    ModeVerdict::judge(api_mode.as_deref(), None);
    let key = EventKey::of_import(id.as_deref(), body);
    assert!(key.as_str().len() <= 4 + 512);
    if let Some(redelivered) = redelivered(body) {
        assert_eq!(fingerprint(&redelivered), fingerprint(body));
    }
}

/// Returns the same object with another date, as a retry has it. The last of two equal names counts.
fn redelivered(body: &[u8]) -> Option<Vec<u8>> {
    Object::read(body)?;
    let open = body.iter().rposition(|byte| *byte == b'}')?;
    let comma = if Object::read(body)?.entries().next().is_some() { "," } else { "" };
    Some([&body[..open], comma.as_bytes(), br#""date":"2026-01-01T00:00:00Z"}"#].concat())
}

/// Checks that the fold takes and counts each body, that its state can be walked, and that a second fold over the same
/// bodies ends in the same state.
pub fn fold(bodies: &[u8]) {
    let events: Vec<Event> = (1..).zip(bodies.split(|byte| *byte == SEPARATOR)).map(event).collect();
    let mut folds = [Fold::new(4), Fold::new(1000)];
    for event in &events {
        for fold in &mut folds {
            fold.advance(event).expect("without a change log nothing can fail");
        }
        // Only the first fold is published after each event.
        assert_eq!(folds[0].publish().position(), event.position);
    }
    let [one, other] = folds.map(|mut fold| fold.publish());
    assert_eq!((one.connection_count(), one.export_count()), (other.connection_count(), other.export_count()));
    for realm in one.realms() {
        let connections = |views: &cleat::fold::Views| {
            views.connections(&realm, None).map(|(_, connection)| connection).collect::<Vec<_>>()
        };
        assert!(connections(&one) == connections(&other));
        for connection in connections(&one) {
            assert!(connection.lineage.version <= events.len() as u64 && !connection.id.is_empty());
        }
        let any = BTreeSet::new();
        let all = ExportQuery { connection_ids: &any, external_ids: &any, after_position: 0, deadlines: None };
        for (task, candidate) in one.find_exports(&realm, &all, None) {
            let joined = one.load(&realm, &task, &candidate).expect("all is in memory");
            assert!(other.export(&realm, &task.text()).expect("all is in memory") == Some(joined));
        }
    }
}

fn event((position, body): (u64, &[u8])) -> Event {
    let provenance = [Provenance::Webhook, Provenance::Import][usize::from(position % 3 == 0)];
    let delivery = Delivery { provenance, ..webhook(None, Bytes::copy_from_slice(body)) };
    // Steps of 7 h, so that links expire now and then.
    let recorded_at = Timestamp::from_micros(1_790_000_000_000_000 + position.cast_signed() * 7 * HOUR);
    Event { position, recorded_at, delivery, chain: [1; 32], conflict_of: None, contents: Contents::Whole }
}

/// Checks that packed text comes back and is never longer when packed. Text that was never packed must be refused, or
/// unpacked within its bound.
pub fn packing(bytes: &[u8]) {
    let Some((options, text)) = bytes.split_first() else { return };
    let organisation = (options & 1 != 0).then_some(*b"0123456789abcdef");
    if let Some((packed, back)) = fuzzing::repacked(text, organisation, options & 2 != 0) {
        assert!(packed <= text.len() && back == text);
    }
    let ids = vec![[options.wrapping_mul(31); 16]; usize::from(options >> 3)];
    let bound = text.len() * 8;
    if let Some(unpacked) = fuzzing::unpacked(text, &ids, i64::from(*options) << 30, bound) {
        assert!(unpacked.len() <= bound);
    }
}

/// Checks that a delivery comes back out of its record, byte for byte. Private bytes that were never made must be
/// refused, or opened.
pub fn record(bytes: &[u8]) {
    let delivery = delivery(bytes);
    assert!(fuzzing::recorded(&delivery).is_some_and(|recorded| recorded == delivery));
    let opened = fuzzing::opened(&delivery, bytes);
    assert!(opened.is_none_or(|opened| opened.body.len() <= 1024 * 1024));
}

/// Makes a delivery of four texts and a body, with separators between them.
fn delivery(bytes: &[u8]) -> Delivery {
    let mut parts = bytes.splitn(5, |byte| *byte == SEPARATOR);
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (webhook_id, webhook_timestamp, webhook_signature, key) = (text(), text(), text(), text());
    let key = match &*key {
        "" => None,
        "id" => Some(EventKey::of(Some(&webhook_id), "")),
        other => Some(EventKey::from_text(other)),
    };
    let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    let event = event((1, &body)).delivery;
    Delivery { key, webhook_id, webhook_timestamp, webhook_signature, body: body.into(), nonce: [7; 16], ..event }
}

/// Checks that deliveries come back out of a frame. Bytes that were never a frame must be refused, or read within their
/// bounds.
pub fn frame(bytes: &[u8]) {
    assert!(fuzzing::events(bytes).is_none_or(|events| events.len() <= 256));
    let deliveries: Vec<Delivery> = bytes.split(|byte| *byte == 0xff).take(256).map(delivery).collect();
    if let Some(frame) = fuzzing::framed(&deliveries) {
        let events = fuzzing::events(&frame).expect("it was just made");
        assert!(events.into_iter().map(|event| event.delivery).eq(deliveries));
    }
    let [count, split, rest @ ..] = bytes else { return };
    let (columns, private) = rest.split_at(rest.len() * usize::from(*split) / 255);
    for (codec, expanded) in [(0, columns.len()), (1, usize::from(*count) * 40)] {
        let expanded = u32::try_from(expanded).expect("inputs are small");
        let events = fuzzing::unchained(columns, private, u32::from(*count), codec, expanded);
        assert!(events.len() <= usize::from(*count));
        assert!(events.iter().all(|event| event.delivery.body.len() <= 1024 * 1024));
    }
}

const IDENTITY: Identity = Identity { log_id: 7, epoch: 8 };

/// Checks that a damaged segment is refused, or that each frame read from it is a frame that was written. The same goes
/// for any other file.
pub fn segment(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let frames: Vec<Vec<u8>> =
        vec![fuzzing::framed(&[delivery(b"id\x001\x00s\x00k\x00{}"), delivery(b"")]).expect("they are small")];
    let header = SegmentHeader { identity: IDENTITY, first: 10, before: [1; 32], source: 0, merges: 0 };
    let mut writer = SegmentWriter::create(directory.path(), header, AtOnce).expect("a new file");
    writer.push(&frames[0]).expect("it begins there");
    writer.finish().expect("it is whole").verify().expect("it was just written");
    let path = directory.path().join(SegmentName { first: 10, last: 11 }.to_string());
    let good = std::fs::read(&path).expect("it is there");
    let mut harmed = good.clone();
    for change in bytes.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % harmed.len();
        harmed[at] ^= change[2];
    }
    for file in [&harmed[..], bytes] {
        std::fs::write(&path, file).expect("a scratch file");
        let Ok(segment) = Segment::open(&path, IDENTITY) else { continue };
        assert_eq!(segment.verify().is_ok(), *file == good);
        for position in [9, 10, 11, 12] {
            if let Ok(Some(frame)) = segment.read(position) {
                assert!(frames.contains(&frame) && (10..=11).contains(&position));
            }
        }
    }
}

/// Checks that a frame is found among any bytes. A damaged frame must be found as it was, or not at all. Any file can
/// be searched.
pub fn journal(bytes: &[u8]) {
    let [kind, garbage @ ..] = bytes else { return };
    let directory = tempfile::tempdir().expect("a scratch directory");
    let recovered = |db: &[u8]| fuzzing::recovered(directory.path(), db).expect("a scratch file is read");
    recovered(garbage);
    // A body for one value, or for several.
    let body = if kind & 1 == 0 { b"{}".to_vec() } else { (0..12_000_u32).map(noise).collect() };
    let body = Bytes::from(body);
    let frame =
        fuzzing::framed(&[Delivery { body: body.into(), ..delivery(b"id\x001\x00s\x00k\x00") }]).expect("it is small");
    let values = fuzzing::journal_values(&frame).expect("it was just made");
    let piece = garbage.len() / (values.len() + 1);
    let mut db = Vec::new();
    for (n, value) in values.iter().enumerate() {
        db.extend_from_slice(&garbage[n * piece..(n + 1) * piece]);
        db.extend_from_slice(value);
    }
    assert!(*recovered(&db) == *std::slice::from_ref(&frame));
    for change in garbage.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % db.len();
        db[at] ^= change[2];
    }
    assert!(recovered(&db).iter().all(|found| *found == frame));
}

/// Returns byte `n` of a sequence that no compression shortens.
fn noise(n: u32) -> u8 {
    n.wrapping_mul(2_654_435_761).to_be_bytes()[0]
}
