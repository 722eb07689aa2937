//! Limits of the door in bytes and time, a stalled disk, and the end of the door.

use std::sync::atomic::Ordering;

use cleat::config::REQUEST_BYTES;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Answer, OLD, Request, TestDoor, WRONG, until, within};

/// Bytes that a request counts for, in addition to its body.
const EACH: u64 = REQUEST_BYTES.as_u64();

fn of_size(bytes: usize) -> Request {
    // An event of a known mode claims a key, so its retry is a duplicate.
    let event = r#"{"api_mode":"live"}"#;
    let body = format!("{event}{}", " ".repeat(bytes.saturating_sub(event.len())));
    Request::signed("fasten", OLD, "msg_1", body)
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_whether_declared_or_chunked() {
    let door = TestDoor::with("body_limit = \"1KiB\"").await;
    door.refuses(&of_size(1025), 413, "BODY_TOO_LARGE", "body_too_large").await;
    door.refuses(&of_size(1025).chunked(100), 413, "BODY_TOO_LARGE", "body_too_large").await;
    // A client that sends everything before it reads still gets its answer, and not a broken connection.
    door.refuses(&of_size(800 * 1024), 413, "BODY_TOO_LARGE", "body_too_large").await;
    door.refuses(&of_size(800 * 1024).chunked(5000), 413, "BODY_TOO_LARGE", "body_too_large").await;
    // Refused for the declared length, before a byte of the body was sent.
    let declared = Request { body: Vec::new(), ..of_size(0).set("content-length", "1000000000000") };
    door.refuses(&declared, 413, "BODY_TOO_LARGE", "body_too_large").await;
    assert_eq!(door.send(&of_size(1024)).await.taken(), (1, false));
}

#[tokio::test]
async fn the_largest_body_that_can_be_configured_is_taken() {
    let door = TestDoor::with("body_limit = \"384KiB\"").await;
    let mut noise = 1_u64;
    let body: String = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b' ' + u8::try_from(noise >> 58).unwrap())
    })
    .take(384 * 1024)
    .collect();
    assert_eq!(door.send(&Request::signed("fasten", OLD, "msg_1", body.clone())).await.taken(), (1, false));
    assert_eq!(door.reader.get(1).unwrap().unwrap().delivery.body[..], *body.as_bytes());
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_408() {
    let door = TestDoor::with("request_timeout = \"300ms\"").await;
    let cut = Request { body: b"{\"half".to_vec(), ..of_size(0).set("content-length", "100") };
    door.refuses(&cut, 408, "BODY_SLOW", "body_slow").await;
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let door = TestDoor::open().await;
    let cut = Request { body: b"{\"half".to_vec(), ..of_size(0).set("content-length", "100") };
    let mut stream = door.connect().await;
    stream.write_all(&cut.bytes()).await.unwrap();
    until(|| door.inflight_bytes() == EACH + 100).await;
    drop(stream);
    until(|| door.inflight_bytes() == 0).await;
    until(|| door.count("fasten", "body_broken") + door.count("fasten", "abandoned") == 1).await;
    assert_eq!(door.head(), 0);
}

#[tokio::test]
async fn a_body_that_drips_is_408_after_five_seconds() {
    let door = TestDoor::open().await;
    let started = std::time::Instant::now();
    let request = of_size(1000).bytes();
    let mut stream = door.connect().await;
    stream.write_all(&request[..request.len() - 1000]).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let drips = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let mut answer = String::new();
    within(reading.read_to_string(&mut answer)).await.unwrap();
    drips.abort();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(started.elapsed().as_secs() >= 5, "{:?}", started.elapsed());
    assert_eq!(door.count("fasten", "body_slow"), 1);
}

#[tokio::test]
async fn a_full_budget_is_503_until_there_is_room_again() {
    let door = TestDoor::with("body_limit = \"1KiB\"\ninflight_bytes = \"10KiB\"").await;
    door.disk_stalls.store(true, Ordering::SeqCst);
    let mut first = door.connect().await;
    first.write_all(&of_size(1000).bytes()).await.unwrap();
    until(|| door.inflight_bytes() == EACH + 1000).await;

    let second = Request::signed("fasten", OLD, "msg_2", "x".repeat(125));
    let answer = door.send(&second).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "OVERLOADED"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!((door.inflight_bytes(), door.head()), (EACH + 1000, 0));

    door.disk_stalls.store(false, Ordering::SeqCst);
    assert_eq!(Answer::read(first).await.taken(), (1, false));
    until(|| door.inflight_bytes() == 0).await;
    assert_eq!(door.send(&second).await.taken(), (2, false));
}

#[tokio::test]
async fn an_incomplete_body_gives_its_room_to_a_whole_one() {
    let door = TestDoor::with("body_limit = \"1KiB\"\ninflight_bytes = \"10KiB\"").await;
    let first = of_size(1000).bytes();
    let mut incomplete = door.connect().await;
    incomplete.write_all(&first[..first.len() - 100]).await.unwrap();
    until(|| door.inflight_bytes() == EACH + 1000).await;
    assert_eq!(door.send(&Request::signed("fasten", OLD, "msg_2", "x".repeat(125))).await.taken(), (1, false));
    incomplete.write_all(&first[first.len() - 100..]).await.unwrap();
    assert_eq!(Answer::read(incomplete).await.status, 503);
}

#[tokio::test]
async fn large_unsigned_bodies_never_displace_small_signed_ones() {
    let door = TestDoor::with("body_limit = \"64KiB\"\ninflight_bytes = \"1MiB\"").await;
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let request = Request::signed("fasten", WRONG, "msg_1", "x".repeat(64 * 1024)).bytes();
        let mut stranger = door.connect().await;
        stranger.write_all(&request[..request.len() - 1]).await.unwrap();
        strangers.push(stranger);
    }
    until(|| door.inflight_bytes() > 400 * 1024).await;
    for position in 1..=50 {
        let request = Request::signed("fasten", OLD, &format!("msg_{position}"), "{}");
        assert_eq!(door.send(&request).await.taken(), (position, false));
    }
}

#[tokio::test]
async fn a_disk_that_stalls_is_503_and_the_retry_finds_its_event() {
    let door = TestDoor::with("request_timeout = \"300ms\"").await;
    door.disk_stalls.store(true, Ordering::SeqCst);
    let answer = door.send(&of_size(100)).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "STORAGE_SLOW"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(door.inflight_bytes(), EACH + 100, "the log still holds them");
    door.disk_stalls.store(false, Ordering::SeqCst);
    until(|| door.head() == 1).await;
    until(|| door.inflight_bytes() == 0).await;
    until_taken(&door, &of_size(100), (1, true)).await;
}

#[tokio::test]
async fn dead_log_writer_is_503_and_not_reported_as_a_daemon_stop() {
    let door = TestDoor::open().await;
    assert_eq!(door.send(&Request::signed("fasten", OLD, "msg_0", "{}")).await.taken(), (1, false));
    door.writer_dies.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        door.refuses(&of_size(100), 503, "STORAGE_READ_ONLY", "storage_failed").await;
    }
}

/// Sends a request until the answer is not 503. A disk that has just come back may still be slower than the short
/// timeout.
async fn until_taken(door: &TestDoor, request: &Request, taken: (u64, bool)) {
    let answer = within(async {
        loop {
            let answer = door.send(request).await;
            if answer.status != 503 {
                return answer;
            }
        }
    });
    assert_eq!(answer.await.taken(), taken);
}

#[tokio::test]
async fn client_that_hangs_up_takes_back_neither_event_nor_charge() {
    let door = TestDoor::open().await;
    door.disk_stalls.store(true, Ordering::SeqCst);
    let mut stream = door.connect().await;
    stream.write_all(&of_size(100).bytes()).await.unwrap();
    until(|| door.inflight_bytes() == EACH + 100).await;
    drop(stream);
    until(|| door.count("fasten", "abandoned") == 1).await;
    assert_eq!(door.inflight_bytes(), EACH + 100, "the log still holds them");
    door.disk_stalls.store(false, Ordering::SeqCst);
    until(|| door.inflight_bytes() == 0).await;
    assert_eq!(door.send(&of_size(100)).await.taken(), (1, true));
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_door_closes() {
    let door = TestDoor::open().await;
    let request = of_size(100).bytes();
    let (sent, rest) = request.split_at(request.len() - 50);
    let mut stream = door.connect().await;
    stream.write_all(sent).await.unwrap();
    let mut silent = door.connect().await;
    until(|| door.inflight_bytes() == EACH + 100 && door.metrics.connections("webhooks").get() == 2).await;

    let (reader, metrics) = (door.reader.clone(), door.metrics.clone());
    let closing = tokio::spawn(door.close());
    assert_eq!(within(silent.read(&mut [0])).await.unwrap(), 0, "a silent connection is closed at once");
    stream.write_all(rest).await.unwrap();
    assert_eq!(Answer::read(stream).await.taken(), (1, false));
    within(closing).await.unwrap();
    assert_eq!((reader.head().position, metrics.connections("webhooks").get()), (1, 0));
}
