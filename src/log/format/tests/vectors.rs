//! Test vectors of `vectors.txt`, which another implementation makes (`vectors.py`): our bytes are the same. For a
//! compressed record only its expanded bytes count, so that a newer zstd may compress differently.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::event::{Contents, EventKey, ModeVerdict, Provenance};
use crate::log::format::private;
use crate::storage::PLAIN;

const UNIX: i64 = 1_790_000_000;
const ENVELOPE: &str = "3f0c1f0e-7a58-4f0e-9a0b-2f2b8a1d0c03";
const SIGNATURE: &str = "v1,AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

struct Vectors(HashMap<&'static str, Vec<u8>>);

impl Vectors {
    fn read() -> Self {
        let lines = include_str!("../vectors.txt").lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(|line| line.split_once(' ').map(|(name, hex)| (name, bytes(hex))).unwrap()).collect())
    }

    fn get(&self, name: &str) -> &[u8] {
        &self.0[name]
    }

    fn hash(&self, name: &str) -> Hash {
        self.get(name).try_into().unwrap()
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|digits| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap()).collect()
}

fn delivery(nonce: u8) -> Delivery {
    Delivery {
        tenant: "acme".into(),
        endpoint: "fasten".into(),
        provenance: Provenance::Webhook,
        mode: ModeVerdict::Live,
        key: Some(EventKey::of(Some(ENVELOPE), "")),
        webhook_id: ENVELOPE.into(),
        webhook_timestamp: UNIX.to_string(),
        webhook_signature: SIGNATURE.into(),
        secret_label: "1".into(),
        nonce: [nonce; 16],
        body: Vectors::read().get("usual-body").to_vec().into(),
    }
}

fn odd() -> Delivery {
    Delivery {
        mode: ModeVerdict::Unknown,
        key: Some(EventKey::from_text("sha:k")),
        webhook_id: "m-1".into(),
        webhook_timestamp: "+5".into(),
        webhook_signature: "v1,x".into(),
        body: Vectors::read().get("odd-body").to_vec().into(),
        ..delivery(1)
    }
}

/// Returns the header's bytes with the digest of its private bytes.
fn header_bytes(header: &Header, private: &[u8]) -> Vec<u8> {
    [&header.encode()[..], &Sha256::digest(private)].concat()
}

#[test]
fn records_in_clear_are_the_bytes_of_the_vectors() {
    let vectors = Vectors::read();
    let record = Record::new(&odd()).unwrap();
    assert_eq!(record.private(), vectors.get("odd-private"));
    assert_eq!(header_bytes(record.header(), record.private()), vectors.get("odd-header"));
    assert_eq!(*record.content(), vectors.hash("odd-content"));
    let record = Record::new(&delivery(2)).unwrap();
    let stored = vectors.get("usual-private");
    assert_eq!(header_bytes(record.header(), stored), vectors.get("usual-header"));
    assert!(record::delivery(record.header(), stored).unwrap() == delivery(2));
    assert_eq!(record.private()[..120], stored[..120], "what is before the compressed text");
}

#[test]
fn encrypted_record_and_key_commitment_match_the_vectors() {
    let vectors = Vectors::read();
    let clear = Record::new(&delivery(2)).unwrap().header().clone();
    let encrypted = Header { codec: 1, subject: 9, ..clear.clone() };
    let private = vectors.get("encrypted-private");
    assert_eq!(header_bytes(&encrypted, private), vectors.get("encrypted-header"));
    assert_eq!(encrypted.content(&Sha256::digest(private).into()), vectors.hash("encrypted-content"));
    let mut data = b"cleat record 2".to_vec();
    data.extend(u128::from(7_u8).to_be_bytes());
    data.extend(encrypted.encode());
    assert_eq!(data, vectors.get("associated-data"));
    let q = vectors.get("encrypted-q");
    assert_eq!((private.len(), &private[..12]), (12 + q.len() + 16, vectors.get("nonce")));
    // The sealed bytes are those that a record in clear holds after its random bytes.
    let opened = [&[2; 16], q].concat();
    assert!(private::PrivateFields::decode(&opened, &encrypted).unwrap().body == *delivery(2).body);
    let header = vectors.get("subject-header");
    let commitment: Hash = header[header.len() - 64..header.len() - 32].try_into().unwrap();
    let first = Header { subject: 9, key_commitment: Some(commitment), ..clear };
    assert_eq!(header_bytes(&first, vectors.get("subject-private")), header);
}

#[test]
fn the_frame_of_the_vectors_is_read_whole() {
    let vectors = Vectors::read();
    assert_eq!(genesis(7), vectors.hash("genesis"));
    let frame = Frame::decode(vectors.get("frame")).unwrap();
    let records = records(&frame).unwrap();
    let contents = ["odd", "usual", "subject", "encrypted", "odd", "usual"];
    for (record, name) in records.iter().zip(contents) {
        assert_eq!(record.chain, vectors.hash(&format!("chain-{}", record.position)));
        assert_eq!(record.content, vectors.hash(&format!("{name}-content")));
        assert_eq!(record.recorded_at.as_micros(), UNIX * 1_000_000 + i64::try_from(record.position).unwrap());
        assert_eq!(record.conflict_of, (record.position == 3).then_some(2));
    }
    let events: Vec<_> = records.iter().map(|record| record.event().unwrap()).collect();
    for (event, delivery) in events.iter().zip([odd(), delivery(2), delivery(3)]) {
        assert!(event.delivery == delivery && event.contents == Contents::Whole);
    }
    let contents: Vec<_> = events[3..].iter().map(|event| event.contents).collect();
    assert_eq!(contents, [Contents::Encrypted, Contents::Erased, Contents::Encrypted]);
    assert!(events[3..].iter().all(|event| event.delivery.body.is_empty() && event.delivery.key.is_none()));
}

#[test]
fn the_frame_of_the_vectors_is_written_the_same() {
    let vectors = Vectors::read();
    let frame = Frame::decode(vectors.get("frame")).unwrap();
    let mut builder = FrameBuilder::new(1, genesis(7), RECORDS_MAX, FRAME_BYTES_MAX);
    for record in records(&frame).unwrap() {
        builder.push_stored(&record);
    }
    let written = builder.finish().unwrap();
    let written = Frame::decode(&written).unwrap();
    let expanded = written.header.columns_expanded as usize;
    let columns = PLAIN.expand(written.columns, expanded).unwrap();
    assert_eq!((&columns[..], written.private), (frame.columns, frame.private));
    assert_eq!((written.header.before, written.header.after), (frame.header.before, frame.header.after));
}
