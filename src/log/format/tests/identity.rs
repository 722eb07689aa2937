//! Any delivery that goes into a record comes out of it unchanged.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;
use crate::event::{Contents, EventKey, ModeVerdict, Position, Provenance};

const UUID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

fn signature() -> impl Strategy<Value = String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    prop_oneof![
        any::<[u8; 32]>().prop_map(|signature| format!("v1,{}", STANDARD.encode(signature))),
        "v1,[A-Za-z0-9+/=]{0,50}",
        any::<String>()
    ]
}

fn timestamp() -> impl Strategy<Value = String> {
    let odd = ["", "+5", "007", "-0", "1.0", "9223372036854775807", "-9223372036854775808", "99999999999999999999"];
    prop_oneof![
        (1_700_000_000..1_900_000_000_i64).prop_map(|seconds| seconds.to_string()),
        any::<i64>().prop_map(|seconds| seconds.to_string()),
        proptest::sample::select(odd.to_vec()).prop_map(str::to_owned),
        any::<String>()
    ]
}

fn body(webhook_id: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let usual = format!(
        r#"{{"api_mode":"live","date":"2026-05-04T14:03:11Z","id":"{webhook_id}","type":"patient.ehi_export_success","data":{{"org_id":"{UUID}","task_id":"{}"}}}}"#,
        UUID.replace('-', "")
    );
    prop_oneof![
        Just(usual.clone().into_bytes()),
        vec(any::<u8>(), 0..300),
        any::<String>().prop_map(String::into_bytes),
        (0..usual.len(), vec(any::<u8>(), 0..5)).prop_map(move |(at, bytes)| {
            let mut body = usual.clone().into_bytes();
            body.splice(at..at, bytes);
            body
        })
    ]
}

fn key(webhook_id: &str) -> impl Strategy<Value = Option<EventKey>> + use<> {
    prop_oneof![
        Just(Some(format!("id:{webhook_id}"))),
        Just(Some(format!("whid:{webhook_id}"))),
        option::of(any::<String>())
    ]
    .prop_map(|key| key.map(EventKey::from_text))
}

fn verdict() -> impl Strategy<Value = ModeVerdict> {
    (1..=4_u8).prop_map(|byte| ModeVerdict::from_stored(byte).unwrap())
}

prop_compose! {
    fn any_delivery()(webhook_id in prop_oneof![Just(UUID.to_owned()), any::<String>()])(
        body in body(&webhook_id),
        key in key(&webhook_id),
        webhook_id in Just(webhook_id),
        webhook_timestamp in timestamp(),
        webhook_signature in signature(),
        [tenant, endpoint, secret_label] in ["default|.{0,50}", "fasten|.{0,50}", "1|.{0,50}"],
        mode in verdict(),
        provenance in 1..=3_u8,
        nonce in any::<[u8; 16]>(),
    ) -> Delivery {
        let provenance = Provenance::from_stored(provenance).unwrap();
        let body = body.into();
        Delivery { tenant, endpoint, provenance, mode, key, webhook_id, webhook_timestamp, webhook_signature, secret_label, nonce, body }
    }
}

/// Fields that the writer assigns.
#[derive(Debug, Clone, Copy)]
struct Assigned {
    /// Microseconds since the record before.
    elapsed: u32,
    /// Earlier record that this one contradicts: this number, modulo the position.
    conflict_of: Option<Position>,
}

fn assigned() -> impl Strategy<Value = Assigned> {
    (any::<u32>(), option::of(any::<Position>())).prop_map(|(elapsed, conflict_of)| Assigned { elapsed, conflict_of })
}

/// Makes frames of at most `records_max` records and `bytes_max` bytes. Returns them, and the chain value at their end.
fn frames(records: &[(Delivery, Assigned)], records_max: usize, bytes_max: usize) -> (Vec<Vec<u8>>, Hash) {
    let mut builder = FrameBuilder::new(1, genesis(LOG_ID), records_max, bytes_max);
    let mut frames = Vec::new();
    let mut micros = BEGIN;
    for (delivery, Assigned { elapsed, conflict_of }) in records {
        let record = Record::new(delivery).unwrap();
        if !builder.fits(record.size()) {
            frames.push(builder.finish().unwrap());
        }
        micros += i64::from(*elapsed);
        let conflict_of = conflict_of.map(|first| first % builder.next()).filter(|first| *first != 0);
        let chain = builder.push(Timestamp::from_micros(micros), conflict_of, &record);
        assert_eq!(chain, builder.chain());
    }
    frames.push(builder.finish().unwrap());
    (frames, builder.chain())
}

fn check(frames: &[Vec<u8>], last: Hash, records: &[(Delivery, Assigned)]) {
    let mut position = 0;
    let mut micros = BEGIN;
    let mut chain = genesis(LOG_ID);
    for bytes in frames {
        let frame = Frame::decode(bytes).unwrap();
        assert_eq!((frame.header.first, frame.header.before), (position + 1, chain));
        for stored in super::records(&frame).unwrap() {
            let (delivery, Assigned { elapsed, conflict_of }) = &records[usize::try_from(position).unwrap()];
            position += 1;
            micros += i64::from(*elapsed);
            let event = stored.event().unwrap();
            assert!(event.delivery == *delivery, "another delivery comes back at {position}");
            assert_eq!((event.position, event.recorded_at.as_micros()), (position, micros));
            assert_eq!(event.conflict_of, conflict_of.map(|first| first % position).filter(|first| *first != 0));
            assert_eq!((event.contents, event.chain), (Contents::Whole, stored.chain));
            assert_eq!(stored.content, *Record::new(delivery).unwrap().content());
            chain = event.chain;
        }
        assert_eq!(frame.header.after, chain);
    }
    assert_eq!((position, chain), (records.len() as u64, last));
}

proptest! {
    #[test]
    fn any_delivery_comes_back_out_of_its_record(delivery in any_delivery()) {
        prop_assert!(Record::new(&delivery).unwrap().delivery().unwrap() == delivery);
    }

    #[test]
    fn any_deliveries_come_back_out_of_frames(
        records in vec((any_delivery(), assigned()), 1..20),
        records_max in 1..8_usize,
        bytes_max in prop_oneof![Just(FRAME_BYTES_MAX), 0..2000_usize],
    ) {
        let (made, last) = frames(&records, records_max, bytes_max);
        for bytes in &made {
            let count = Frame::decode(bytes).unwrap().header.count as usize;
            prop_assert!(count <= records_max && (bytes.len() <= bytes_max || count == 1));
        }
        check(&made, last, &records);
        // Records that are copied into frames of another size stay the same.
        let mut builder = FrameBuilder::new(1, genesis(LOG_ID), RECORDS_MAX, FRAME_BYTES_MAX);
        for bytes in &made {
            for stored in super::records(&Frame::decode(bytes).unwrap()).unwrap() {
                builder.push_stored(&stored);
            }
        }
        check(&[builder.finish().unwrap()], last, &records);
    }
}

#[test]
fn the_standard_workload_comes_back() {
    let assigned = Assigned { elapsed: 1000, conflict_of: None };
    let records: Vec<_> = deliveries(1, 1000).into_iter().map(|delivery| (delivery, assigned)).collect();
    let (made, last) = frames(&records, RECORDS_MAX, 6 * 1024);
    assert!(made.iter().all(|bytes| bytes.len() <= 6 * 1024));
    check(&made, last, &records);
}

#[test]
fn empty_and_large_deliveries_come_back() {
    let mut random = StdRng::seed_from_u64(1);
    let mut delivery = deliveries(1, 1).remove(0);
    for body in [Vec::new(), (0..400 * 1024).map(|_| random.random()).collect(), vec![b' '; 1000 * 1024]] {
        delivery.body = body.into();
        let records = [(delivery.clone(), Assigned { elapsed: 0, conflict_of: None })];
        let (made, last) = frames(&records, RECORDS_MAX, 0);
        check(&made, last, &records);
    }
    for field in [&mut delivery.webhook_id, &mut delivery.webhook_timestamp, &mut delivery.webhook_signature] {
        field.clear();
    }
    (delivery.tenant, delivery.endpoint, delivery.secret_label) = Default::default();
    for key in [None, Some(""), Some("id:"), Some("whid:"), Some(":")] {
        delivery.key = key.map(EventKey::from_text);
        assert!(Record::new(&delivery).unwrap().delivery().unwrap() == delivery);
    }
}

#[test]
fn what_no_frame_can_hold_is_refused_at_once() {
    let mut delivery = deliveries(1, 1).remove(0);
    let mut random = StdRng::seed_from_u64(2);
    let bytes: Vec<u8> = (0..FRAME_BYTES_MAX).map(|_| random.random()).collect();
    for body in [bytes, vec![b' '; FRAME_BYTES_MAX]] {
        delivery.body = body.into();
        assert!(Record::new(&delivery).is_err());
    }
    let mut delivery = deliveries(1, 1).remove(0);
    delivery.tenant = "x".repeat(256);
    assert!(Record::new(&delivery).is_err());
}
