//! Requests that the door refuses. Each case also checks that nothing of the request is in the log.

use cleat::config::DEVELOPMENT_SECRET;
use testkit::signer::sign;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Answer, NOW, OLD, Request, TestDoor, WRONG, until};

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
async fn another_method_is_405_and_the_answer_names_the_allowed_one() {
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
async fn a_stale_timestamp_is_answered_like_a_wrong_signature() {
    let door = TestDoor::open().await;
    let wrong = door.refuses(&wrong_request(), 401, "UNAUTHENTICATED", "signature_mismatch").await;
    let wrong_and_stale = Request::signed_at("fasten", WRONG, "msg_1", NOW - 301, "{}");
    door.refuses(&wrong_and_stale, 401, "UNAUTHENTICATED", "signature_mismatch").await;
    for seconds in [-301, 301, -NOW] {
        let request = Request::signed_at("fasten", OLD, "msg_1", NOW + seconds, "{}");
        let stale = door.refuses(&request, 401, "UNAUTHENTICATED", "stale_timestamp").await;
        assert_eq!(stale.json(), wrong.json());
    }
}

#[tokio::test]
async fn a_replayed_stale_webhook_does_not_make_the_clock_doubtful() {
    let door = TestDoor::open().await;
    for _ in 0..5 {
        door.refuses(&stale("fasten", OLD, "msg_1"), 401, "UNAUTHENTICATED", "stale_timestamp").await;
    }
    assert!(!door.clock_is_doubtful());
}

#[tokio::test]
async fn distinct_stale_webhooks_raise_clock_doubt_until_a_fresh_one() {
    let door = TestDoor::open().await;
    for id in ["msg_1", "msg_2", "msg_3"] {
        assert!(!door.clock_is_doubtful());
        door.send(&stale("fasten", WRONG, id)).await;
        assert!(!door.clock_is_doubtful(), "a stranger cannot raise it");
        door.refuses(&stale("fasten", OLD, id), 401, "UNAUTHENTICATED", "stale_timestamp").await;
    }
    assert!(door.clock_is_doubtful());
    door.send(&wrong_request()).await;
    assert!(door.clock_is_doubtful(), "nor can a stranger clear it");
    door.send(&Request::signed("fasten", OLD, "dev_1", "{}")).await.taken();
    assert!(door.clock_is_doubtful(), "nor this machine's tools, which sign by the same clock");
    door.send(&good()).await.taken();
    assert!(!door.clock_is_doubtful());
}

fn stale(endpoint: &str, secret: &str, id: &str) -> Request {
    Request::signed_at(endpoint, secret, id, NOW - 3600, "{}")
}

fn wrong_request() -> Request {
    Request::signed("fasten", WRONG, "msg_1", "{}")
}

#[tokio::test]
async fn the_development_secret_counts_only_for_this_machines_tools() {
    let door = TestDoor::open().await;
    let marked = || Request::signed("dev", DEVELOPMENT_SECRET, "dev_1", "{}");
    for (name, value) in [
        ("forwarded", "for=x"),
        ("x-forwarded-for", "x"),
        ("X-Forwarded-Host", "x"),
        ("via", "1.1 x"),
        ("x-real-ip", "x"),
        ("cf-connecting-ip", "x"),
        ("x-envoy-external-address", "x"),
        ("x-amzn-trace-id", "x"),
        ("true-client-ip", "x"),
    ] {
        let request = marked().and(name, value);
        door.refuses(&request, 401, "UNAUTHENTICATED", "development_secret_refused").await;
    }
    for host in ["rebound.example", "rebound.example:7480", "10.0.0.1", "localhost.example"] {
        let request = Request { host: host.to_owned(), ..marked() };
        door.refuses(&request, 401, "UNAUTHENTICATED", "development_secret_refused").await;
    }
    let unmarked = Request::signed("dev", DEVELOPMENT_SECRET, "msg_1", "{}");
    door.refuses(&unmarked, 401, "UNAUTHENTICATED", "development_secret_refused").await;
}

#[tokio::test]
async fn a_flood_of_one_refusal_leaves_the_others_listed() {
    let door = TestDoor::open().await;
    door.send(&wrong_request()).await;
    for _ in 0..300 {
        door.send(&Request { path: "/".to_owned(), ..good() }).await;
    }
    let listed = door.rejections.of("default");
    assert_eq!((listed.len(), listed[100].reason), (101, "signature_mismatch"));
}

#[tokio::test]
async fn connections_without_a_request_are_counted_and_listed() {
    let door = TestDoor::with("header_timeout = \"300ms\"").await;
    let oversized = format!("POST /webhooks/fasten HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(200_000));
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for (bytes, hangs_up, reason) in [
        (b"nonsense\r\n\r\n".as_slice(), false, "malformed"),
        (hello, false, "malformed"),
        (oversized.as_bytes(), false, "headers_too_large"),
        (b"POST /webh", false, "header_timeout"),
        (b"POST /webh", true, "ended_early"),
        (b"", false, "silent"),
    ] {
        let counted = || door.metrics.http_refused("webhooks", reason).get();
        let before = counted();
        let mut stream = door.connect().await;
        if stream.write_all(bytes).await.is_err() {
            // The door may close before it has read everything.
        }
        if hangs_up {
            drop(stream);
        }
        until(|| counted() == before + 1).await;
        assert_eq!(door.rejections.of("default")[0].reason, reason);
    }
}

#[tokio::test]
async fn an_idle_or_answered_connection_is_not_counted_as_refused() {
    let door = TestDoor::with("header_timeout = \"300ms\"").await;
    let mut kept = good().bytes();
    let close = b"connection: close\r\n";
    let at = kept.windows(close.len()).position(|found| found == close).unwrap();
    kept.drain(at..at + close.len());
    let mut stream = door.connect().await;
    stream.write_all(&kept).await.unwrap();
    let answer = Answer::read(stream).await;
    assert_eq!(answer.taken(), (1, false));
    for reason in ["malformed", "headers_too_large", "header_timeout", "ended_early", "silent"] {
        assert_eq!(door.metrics.http_refused("webhooks", reason).get(), 0, "{reason}");
    }
    assert_eq!(door.rejections.of("default"), []);
}

#[tokio::test]
async fn the_first_fault_in_the_order_of_checks_is_reported() {
    let door = TestDoor::with("body_limit = \"1KiB\"").await;
    let all_wrong = Request { body: vec![b'x'; 2000], ..Request::signed("fasten", WRONG, "a.b", "") };
    let all_wrong = all_wrong.set("content-length", "2000");
    let get = Request { method: "GET", ..all_wrong.clone() };
    door.refuses(&get, 405, "METHOD_NOT_ALLOWED", "method_not_allowed").await;
    door.refuses(&all_wrong, 400, "HEADER_MALFORMED", "header_malformed").await;
    door.refuses(&all_wrong.set("webhook-id", "a"), 413, "BODY_TOO_LARGE", "body_too_large").await;
}
