//! Requests that the door takes, and their events in the log.

use cleat::config::DEVELOPMENT_SECRET;
use cleat::event::{Cursor, EventKey, ModeVerdict, Provenance};
use cleat::token::Token;
use testkit::signer::sign;

use crate::support::{NEW, NOW, OLD, Request, TestDoor, WRONG};

#[tokio::test]
async fn every_known_fasten_payload_is_taken_and_kept_byte_for_byte() {
    let door = TestDoor::open().await;
    let fixtures = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).unwrap();
    let mut taken = 0;
    for fixture in fixtures.map(|entry| entry.unwrap().path()) {
        let body = std::fs::read(&fixture).unwrap();
        let answer = door.send(&Request::signed("fasten", OLD, &format!("msg_{taken}"), body.clone())).await;
        taken += 1;
        assert_eq!(answer.taken(), (taken, false), "{}", fixture.display());
        assert_eq!(door.reader.get(taken).unwrap().unwrap().delivery.body[..], body[..]);
    }
    assert_eq!((taken, door.head(), door.count("fasten", "accepted")), (14, 14, 14));
}

#[tokio::test]
async fn event_keeps_all_that_was_signed_and_the_answer_locates_it() {
    let door = TestDoor::open().await;
    let body = r#"{"api_mode":"test","id":"e-1","type":"webhook.test"}"#;
    let request = Request::signed("fasten", NEW, "msg_1", body);
    let answer = door.send(&request).await;
    assert_eq!((answer.taken(), answer.header("content-type")), ((1, false), Some("application/json")));

    let event = door.reader.get(1).unwrap().unwrap();
    let token = Token::decode(answer.json()["token"].as_str().unwrap()).unwrap();
    assert_eq!(token, Token::read(door.reader.identity(), Cursor::new(1, &event.chain)));

    let delivery = event.delivery;
    assert_eq!((delivery.tenant.as_str(), delivery.endpoint.as_str()), ("default", "fasten"));
    assert_eq!((delivery.provenance, delivery.mode), (Provenance::Webhook, ModeVerdict::Test));
    assert!(delivery.key == Some(EventKey::from_text("id:e-1")));
    assert_eq!((delivery.webhook_id.as_str(), delivery.webhook_timestamp), ("msg_1", NOW.to_string()));
    assert_eq!(delivery.webhook_signature, request.headers[2].1);
    assert_eq!((delivery.secret_label.as_str(), delivery.nonce), ("2", [7; 16]));
    assert_eq!(*delivery.body, body.as_bytes());
}

#[tokio::test]
async fn a_duplicate_is_answered_with_the_first_position() {
    let door = TestDoor::open().await;
    let deliver = |id: &'static str, date: &str| {
        Request::signed("fasten", OLD, id, format!(r#"{{"id":"e-1","date":"{date}","api_mode":"live"}}"#))
    };
    let first = door.send(&deliver("msg_1", "2026-05-04T00:00:00Z")).await;
    let again = door.send(&deliver("msg_2", "2026-05-05T00:00:00Z")).await;
    assert_eq!((first.taken(), again.taken()), ((1, false), (1, true)));
    assert_eq!(first.json()["token"], again.json()["token"]);
    assert_eq!((door.count("fasten", "accepted"), door.count("fasten", "duplicate")), (1, 1));
    // Another tenant's event of the same id is another event.
    let other = Request::signed("live", OLD, "msg_1", r#"{"id":"e-1","api_mode":"live"}"#);
    assert_eq!(door.send(&other).await.taken(), (2, false));
}

#[tokio::test]
async fn conflicting_duplicate_is_answered_as_one_and_kept_once() {
    let door = TestDoor::open().await;
    let deliver = |id: &'static str, task: &str| {
        let body = format!(r#"{{"id":"e-1","api_mode":"live","date":"{id}","data":{{"task_id":"{task}"}}}}"#);
        Request::signed("fasten", OLD, id, body)
    };
    let first = door.send(&deliver("msg_1", "t1")).await;
    assert_eq!(first.taken(), (1, false));
    for id in ["msg_2", "msg_3"] {
        let other = door.send(&deliver(id, "t2")).await;
        assert_eq!(other.taken(), (1, true));
        assert_ne!(other.json()["token"], first.json()["token"], "it is of a later point");
    }
    let kept = door.reader.get(2).unwrap().unwrap();
    assert_eq!((kept.conflict_of, kept.delivery.webhook_id.as_str()), (Some(1), "msg_2"));
    assert_eq!((door.reader.head().position, door.count("fasten", "duplicate_conflict")), (2, 2));
}

#[tokio::test]
async fn the_webhook_id_finds_duplicates_without_an_id_in_the_body() {
    let door = TestDoor::open().await;
    let live = r#"{"api_mode":"live"}"#;
    assert_eq!(door.send(&Request::signed("fasten", OLD, "msg_1", live)).await.taken(), (1, false));
    let empty = r#"{"api_mode":"live","id":""}"#;
    assert_eq!(door.send(&Request::signed("fasten", OLD, "msg_1", empty)).await.taken(), (1, true));
    assert_eq!(door.send(&Request::signed("fasten", OLD, "msg_2", live)).await.taken(), (2, false));
}

#[tokio::test]
async fn a_rightly_signed_body_that_cannot_be_read_is_kept() {
    let door = TestDoor::open().await;
    for (body, position) in [("", 1), ("not json", 2), ("[1,2]", 3)] {
        let request = Request::signed("fasten", OLD, &format!("msg_{position}"), body);
        assert_eq!(door.send(&request).await.taken(), (position, false));
        let delivery = door.reader.get(position).unwrap().unwrap().delivery;
        assert_eq!((delivery.body.as_ref(), delivery.mode), (body.as_bytes(), ModeVerdict::Unknown));
    }
}

#[tokio::test]
async fn a_body_that_is_no_text_is_verified_over_its_bytes() {
    let door = TestDoor::open().await;
    let body = [0xff_u8, 0x00, 0xfe];
    let request = Request::signed("fasten", OLD, "msg_1", body);
    assert_eq!(door.send(&request).await.taken(), (1, false));
    assert_eq!(door.reader.get(1).unwrap().unwrap().delivery.body.as_ref(), body);
}

#[tokio::test]
async fn old_and_new_secrets_overlap_and_one_right_signature_suffices() {
    let door = TestDoor::open().await;
    for (position, secret, label) in [(1, OLD, "old"), (2, NEW, "2")] {
        let id = format!("msg_{position}");
        let request = Request::signed("fasten", secret, &id, "{}");
        let right = &request.headers[2].1;
        let several = format!("v1a,AAAA v1,@ {} v2,x {right}", sign(WRONG, &id, NOW, b"{}"));
        assert_eq!(door.send(&request.clone().set("webhook-signature", several)).await.taken(), (position, false));
        assert_eq!(door.reader.get(position).unwrap().unwrap().delivery.secret_label, label);
    }
}

#[tokio::test]
async fn the_vector_that_other_libraries_agree_on_is_taken() {
    let signature = sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_1", 1_700_000_000, b"{}");
    assert_eq!(signature, "v1,x5lVgj0b/JJJaUYaa1+6I5J/EECcryrPlFN4VrkmI94=");
}

#[tokio::test]
async fn a_timestamp_at_either_end_of_the_tolerance_is_taken() {
    let door = TestDoor::open().await;
    for (position, seconds) in [(1, -300), (2, 300)] {
        let request = Request::signed_at("fasten", OLD, &format!("msg_{position}"), NOW + seconds, "{}");
        assert_eq!(door.send(&request).await.taken(), (position, false));
    }
}

#[tokio::test]
async fn an_event_of_the_other_mode_is_kept_and_claims_no_key() {
    let door = TestDoor::open().await;
    let body = r#"{"id":"e-1","api_mode":"test"}"#;
    for position in [1, 2] {
        assert_eq!(door.send(&Request::signed("live", OLD, "msg_1", body)).await.taken(), (position, false));
        let delivery = door.reader.get(position).unwrap().unwrap().delivery;
        assert!(delivery.mode == ModeVerdict::Mismatched && delivery.key.is_none());
    }
    assert_eq!((door.count("live", "accepted_mode_mismatch"), door.count("live", "accepted")), (2, 0));
    let mended = Request::signed("live", OLD, "msg_1", r#"{"id":"e-1","api_mode":"live"}"#);
    assert_eq!(door.send(&mended).await.taken(), (3, false));
}

#[tokio::test]
async fn an_event_of_no_known_mode_is_kept_and_claims_no_key() {
    let door = TestDoor::open().await;
    for (position, body) in
        [(1, r#"{"id":"e-1"}"#), (2, r#"{"id":"e-1","api_mode":"sandbox"}"#), (3, r#"{"id":"e-1"}"#)]
    {
        assert_eq!(door.send(&Request::signed("fasten", OLD, "msg_1", body)).await.taken(), (position, false));
        let delivery = door.reader.get(position).unwrap().unwrap().delivery;
        assert!(delivery.mode == ModeVerdict::Unknown && delivery.key.is_none());
    }
    assert_eq!((door.count("fasten", "accepted_mode_unknown"), door.count("fasten", "accepted")), (3, 0));
    let known = Request::signed("fasten", OLD, "msg_1", r#"{"id":"e-1","api_mode":"live"}"#);
    assert_eq!(door.send(&known).await.taken(), (4, false));
}

#[tokio::test]
async fn development_secret_serves_direct_but_not_forwarded_requests() {
    let door = TestDoor::open().await;
    assert_eq!(door.send(&Request::signed("dev", DEVELOPMENT_SECRET, "dev_1", "{}")).await.taken(), (1, false));
    let forwarded = Request::signed("dev", OLD, "dev_2", "{}").and("x-forwarded-for", "203.0.113.7");
    let both = format!("{} {}", sign(DEVELOPMENT_SECRET, "dev_2", NOW, b"{}"), forwarded.headers[2].1);
    assert_eq!(door.send(&forwarded.set("webhook-signature", both)).await.taken(), (2, false));
    assert_eq!(door.reader.get(2).unwrap().unwrap().delivery.secret_label, "2");
}

#[tokio::test]
async fn a_chunked_body_is_taken_like_any_other() {
    let door = TestDoor::open().await;
    let body = "x".repeat(100_000);
    let request = Request::signed("fasten", OLD, "msg_1", body.clone()).chunked(777);
    assert_eq!(door.send(&request).await.taken(), (1, false));
    assert_eq!(door.reader.get(1).unwrap().unwrap().delivery.body[..], *body.as_bytes());
}
