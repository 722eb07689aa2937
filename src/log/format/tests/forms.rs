//! Records whose private bytes are gone, or are sealed: the chain holds, and the event says so.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::event::{Contents, Event};
use crate::segment::Gap;
use crate::storage::DecodeError;

/// Returns a frame of some deliveries with their private bytes stored as `form` makes them, and the chain value after
/// the original frame.
fn stored_as(form: impl for<'a> Fn(&'a [u8]) -> Private<'a>) -> (Vec<u8>, Hash) {
    let good = frame_of(&deliveries(1, 5));
    let frame = Frame::decode(&good).unwrap();
    let mut builder = builder();
    for record in records(&frame).unwrap() {
        let Private::Whole(bytes) = record.private else { panic!("it is whole") };
        builder.push_stored(&StoredRecord { private: form(bytes), ..record });
    }
    (builder.finish().unwrap(), frame.header.after)
}

fn events(bytes: &[u8]) -> Result<Vec<Event>, DecodeError> {
    records(&Frame::decode(bytes)?)?.iter().map(StoredRecord::event).collect()
}

fn digest(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Checks that only the clear fields of each delivery are left.
fn check_empty(events: &[Event], contents: Contents) {
    for (event, whole) in events.iter().zip(deliveries(1, 5)) {
        let left = &event.delivery;
        assert_eq!(event.contents, contents);
        assert!(left.key.is_none() && left.body.is_empty() && left.nonce == [0; 16]);
        assert!(left.webhook_id.is_empty() && left.webhook_signature.is_empty());
        let clear = |delivery: &Delivery| (delivery.tenant.clone(), delivery.webhook_timestamp.clone(), delivery.mode);
        assert_eq!(clear(left), clear(&whole));
    }
}

#[test]
fn an_erased_record_keeps_the_chain_and_nothing_private() {
    let (frame, after) = stored_as(|bytes| Private::Erased(digest(bytes)));
    let decoded = Frame::decode(&frame).unwrap();
    assert_eq!((decoded.header.after, decoded.private), (after, &[][..]));
    check_empty(&events(&frame).unwrap(), Contents::Erased);
    let (forged, _) = stored_as(|_| Private::Erased([1; 32]));
    assert!(events(&forged).is_err(), "of other private bytes");
}

#[test]
fn a_record_that_is_sealed_again_keeps_the_chain() {
    let (frame, after) = stored_as(|bytes| Private::Resealed { digest: digest(bytes), bytes: b"sealed" });
    assert_eq!(Frame::decode(&frame).unwrap().header.after, after);
    check_empty(&events(&frame).unwrap(), Contents::Encrypted);
}

/// Returns a frame of one record whose private bytes cannot be opened here, and the chain value after it.
fn sealed(header: Header, private: &[u8]) -> (Vec<u8>, Hash) {
    let mut builder = builder();
    let content = header.content(&digest(private));
    let recorded_at = Timestamp::from_micros(BEGIN);
    let chain = next(&builder.chain(), 1, recorded_at, None, &content);
    let private = Private::Whole(private);
    let record = StoredRecord { position: 1, recorded_at, conflict_of: None, header, private, content, chain };
    assert!(builder.fits(record.size()));
    builder.push_stored(&record);
    (builder.finish().unwrap(), chain)
}

fn header() -> Header {
    Record::new(&deliveries(1, 1)[0]).unwrap().header().clone()
}

#[test]
fn an_encrypted_record_is_checked_without_its_key() {
    let header = Header { codec: 1, subject: 9, key_commitment: Some([5; 32]), ..header() };
    let (frame, after) = sealed(header.clone(), b"ciphertext");
    let decoded = Frame::decode(&frame).unwrap();
    let records = records(&decoded).unwrap();
    assert_eq!((&records[0].header, records[0].chain), (&header, after));
    check_empty(&events(&frame).unwrap(), Contents::Encrypted);
}

#[test]
fn what_a_newer_version_wrote_is_refused_only_when_it_is_opened() {
    let newer = [
        Header { dictionary: 2, ..header() },
        Header { dictionary: 0, ..header() },
        Header { codec: 2, subject: 9, ..header() },
    ];
    for header in newer {
        let (frame, after) = sealed(header.clone(), &[7; 40]);
        let decoded = Frame::decode(&frame).unwrap();
        let records = records(&decoded).unwrap();
        assert_eq!((&records[0].header, records[0].chain), (&header, after));
        assert!(records[0].event().is_err_and(|error| error.0.contains("newer version")));
    }
}

#[test]
fn a_key_without_a_subject_is_refused() {
    for header in [Header { codec: 1, ..header() }, Header { key_commitment: Some([5; 32]), ..header() }] {
        let (frame, _) = sealed(header, b"ciphertext");
        assert!(events(&frame).is_err());
    }
}

#[test]
fn an_invalid_frame_is_refused_when_it_is_finished() {
    assert!(builder().finish().is_err(), "an empty one");
    let record = Record::new(&deliveries(1, 1)[0]).unwrap();
    let push = |times: [i64; 2], conflict_of: Option<u64>| {
        let mut builder = builder();
        for (at, time) in times.into_iter().enumerate() {
            let conflict_of = if at == 1 { conflict_of } else { None };
            builder.push(Timestamp::from_micros(time), conflict_of, &record);
        }
        builder.finish()
    };
    assert!(push([1, 1], Some(1)).is_ok());
    assert!(push([2, 1], None).is_err(), "time goes back");
    assert!(push([i64::MIN, i64::MAX], None).is_err(), "time goes too far");
    assert!(push([1, 1], Some(2)).is_err(), "it contradicts itself");
    let good = frame_of(&deliveries(1, 5));
    let frame = Frame::decode(&good).unwrap();
    let mut builder = builder();
    builder.push_stored(&records(&frame).unwrap()[1]);
    assert!(builder.finish().is_err(), "it is not the next");
}

#[test]
fn a_frame_goes_on_after_the_one_before() {
    let deliveries = deliveries(1, 2);
    let mut builder = builder();
    let mut frames = Vec::new();
    for delivery in &deliveries {
        builder.push(Timestamp::from_micros(BEGIN), None, &Record::new(delivery).unwrap());
        assert_eq!((builder.is_empty(), builder.count()), (false, 1));
        frames.push(builder.finish().unwrap());
        assert_eq!((builder.is_empty(), builder.count()), (true, 0));
    }
    let [one, other] = [0, 1].map(|at| Frame::decode(&frames[at]).unwrap().header);
    assert_eq!((other.first, other.before, builder.next()), (2, one.after, 3));
}

#[test]
fn a_gap_holds_no_record() {
    let gap = Gap { accepted_by: "the operator".into(), accepted_at: Timestamp::from_micros(BEGIN) };
    let bytes = gap.encode(1, 3, Timestamp::from_micros(BEGIN), [1; 32], [2; 32]).unwrap();
    assert_eq!(records(&Frame::decode(&bytes).unwrap()), Ok(Vec::new()));
    let frame = Frame::decode(&bytes).unwrap();
    let mut header = frame.header;
    header.columns_expanded -= 1;
    let other = Frame { header, columns: &frame.columns[1..], private: &[] };
    assert!(records(&other).is_err(), "nobody accepted it");
}
