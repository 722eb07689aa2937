//! What the door refuses. Each case also holds that nothing of it is in the log.

use cleat::config::DEVELOPMENT_SECRET;
use cleat::event::Timestamp;

use crate::support::{NOW, OLD, Request, TestDoor, WRONG, sign};

fn good() -> Request {
    Request::signed("fasten", OLD, "msg_1", "{}")
}

#[tokio::test]
async fn an_unknown_endpoint_is_404_and_never_a_label() {
    let door = TestDoor::open().await;
    for path in [
        "/",
        "/webhooks",
        "/webhooks/",
        "/webhooks/fasten/",
        "/webhooks/other",
        "/WEBHOOKS/fasten",
        "//webhooks/fasten",
    ] {
        let request = Request { path: path.to_owned(), ..good() };
        door.refuses(&request, 404, "ENDPOINT_NOT_FOUND", "unknown_endpoint").await;
    }
    assert!(!door.metrics.encode().unwrap().contains("other"));
}

#[tokio::test]
async fn another_method_is_405_and_told_which_is_allowed() {
    let door = TestDoor::open().await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = door.refuses(&Request { method, ..good() }, 405, "METHOD_NOT_ALLOWED", "method_not_allowed").await;
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    let answer = door.send(&Request { method: "HEAD", ..good() }).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn missing_and_empty_headers_are_400() {
    let door = TestDoor::open().await;
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        door.refuses(&good().without(name), 400, "HEADER_MISSING", "header_missing").await;
        door.refuses(&good().set(name, ""), 400, "HEADER_MISSING", "header_missing").await;
        door.refuses(&good().set(name, "   "), 400, "HEADER_MISSING", "header_missing").await;
    }
}

#[tokio::test]
async fn repeated_headers_are_400_even_if_they_agree() {
    let door = TestDoor::open().await;
    for index in 0..3 {
        let (name, value) = good().headers[index].clone();
        door.refuses(&good().and(name, value), 400, "HEADER_REPEATED", "header_repeated").await;
    }
}

#[tokio::test]
async fn oversized_headers_are_400() {
    let door = TestDoor::open().await;
    let long_id = Request::signed("fasten", OLD, &"a".repeat(257), "{}");
    door.refuses(&long_id, 400, "HEADER_OVERSIZED", "header_oversized").await;
    let right = good().headers[2].1.clone();
    let many = format!("{right} {}", ["v1,AAAA"; 16].join(" "));
    door.refuses(&good().set("webhook-signature", many), 400, "HEADER_OVERSIZED", "header_oversized").await;
    let long = format!("{right} v9,{}", "A".repeat(2048));
    door.refuses(&good().set("webhook-signature", long), 400, "HEADER_OVERSIZED", "header_oversized").await;
    door.refuses(&good().set("webhook-timestamp", "0".repeat(21)), 400, "HEADER_OVERSIZED", "header_oversized").await;
}

#[tokio::test]
async fn malformed_ids_and_timestamps_are_400_although_rightly_signed() {
    let door = TestDoor::open().await;
    for id in ["a.b", "a b", "msg\u{e9}"] {
        let request = Request::signed("fasten", OLD, id, "{}");
        door.refuses(&request, 400, "HEADER_MALFORMED", "header_malformed").await;
    }
    for timestamp in ["-1", "+1790000000", "1790000000.0", "17e8", "now", "9999999999999999999"] {
        let request = good().set("webhook-timestamp", timestamp);
        door.refuses(&request, 400, "HEADER_MALFORMED", "header_malformed").await;
    }
}

#[tokio::test]
async fn wrong_signatures_are_401() {
    let door = TestDoor::open().await;
    let right = good().headers[2].1.clone();
    for signature in [
        sign(WRONG, "msg_1", NOW, b"{}"),
        sign(OLD, "msg_2", NOW, b"{}"),
        sign(OLD, "msg_1", NOW + 1, b"{}"),
        sign(OLD, "msg_1", NOW, b"{ }"),
        right.replace("v1,", "v2,"),
        right.replace("v1,", ""),
        right.replace("v1,", "v1, "),
        right.trim_end_matches('=').to_owned(),
        right[..right.len() - 5].to_owned(),
        "v1,".to_owned(),
        "v1".to_owned(),
    ] {
        let request = good().set("webhook-signature", signature);
        door.refuses(&request, 401, "UNAUTHENTICATED", "signature_mismatch").await;
    }
    // The timestamp's own bytes were signed, not the number.
    let padded = good().set("webhook-timestamp", format!("0{NOW}"));
    door.refuses(&padded, 401, "UNAUTHENTICATED", "signature_mismatch").await;
}

#[tokio::test]
async fn another_endpoints_secret_is_401() {
    let door = TestDoor::open().await;
    let request = Request::signed("live", crate::support::NEW, "msg_1", "{}");
    door.refuses(&request, 401, "UNAUTHENTICATED", "signature_mismatch").await;
}

#[tokio::test]
async fn a_stale_timestamp_is_answered_like_a_wrong_signature_and_raises_the_signal() {
    let door = TestDoor::open().await;
    let wrong = Request::signed("fasten", WRONG, "msg_1", "{}");
    let wrong = door.refuses(&wrong, 401, "UNAUTHENTICATED", "signature_mismatch").await;
    let wrong_and_stale = Request::signed_at("fasten", WRONG, "msg_1", NOW - 301, "{}");
    door.refuses(&wrong_and_stale, 401, "UNAUTHENTICATED", "signature_mismatch").await;
    assert_eq!(door.stale.last(), None, "a stranger cannot raise it");

    for seconds in [-301, 301, -NOW] {
        let request = Request::signed_at("fasten", OLD, "msg_1", NOW + seconds, "{}");
        let stale = door.refuses(&request, 401, "UNAUTHENTICATED", "stale_timestamp").await;
        assert_eq!(stale.json(), wrong.json());
        assert_eq!(door.stale.last(), Some(Timestamp::from_micros(NOW * 1_000_000)));
    }
    door.send(&wrong_request()).await;
    assert!(door.stale.last().is_some(), "nor can a stranger clear it");
    door.send(&good()).await.taken();
    assert_eq!(door.stale.last(), None, "a fresh one clears it");
}

fn wrong_request() -> Request {
    Request::signed("fasten", WRONG, "msg_1", "{}")
}

#[tokio::test]
async fn a_forwarded_request_is_401_if_only_the_development_secret_matches() {
    let door = TestDoor::open().await;
    for header in ["forwarded", "x-forwarded-for", "x-forwarded-proto", "X-Forwarded-Host"] {
        let request = Request::signed("dev", DEVELOPMENT_SECRET, "msg_1", "{}").and(header, "x");
        door.refuses(&request, 401, "UNAUTHENTICATED", "development_secret_forwarded").await;
    }
}

#[tokio::test]
async fn the_first_fault_in_the_order_of_checks_is_the_one_told() {
    let door = TestDoor::with("body_limit = \"1KiB\"").await;
    let all_wrong = Request { body: vec![b'x'; 2000], ..Request::signed("fasten", WRONG, "a.b", "") };
    let all_wrong = all_wrong.set("content-length", "2000");
    let get = Request { method: "GET", ..all_wrong.clone() };
    door.refuses(&get, 405, "METHOD_NOT_ALLOWED", "method_not_allowed").await;
    door.refuses(&all_wrong, 400, "HEADER_MALFORMED", "header_malformed").await;
    door.refuses(&all_wrong.set("webhook-id", "a"), 413, "BODY_TOO_LARGE", "body_too_large").await;
}
