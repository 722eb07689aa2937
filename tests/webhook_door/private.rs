//! The door's log and metrics say nothing of the content that passed through it.

use std::io;
use std::sync::{Mutex, OnceLock};

use cleat::config::DEVELOPMENT_SECRET;

use crate::support::{NOW, OLD, Request, TestDoor, WRONG};

/// Returns the log of all doors of this process. The first call installs the subscriber. One that is installed later,
/// or for one thread only, could miss lines whose callsites other threads reached first.
pub fn logged() -> &'static Mutex<Vec<u8>> {
    static LINES: OnceLock<&'static Mutex<Vec<u8>>> = OnceLock::new();
    LINES.get_or_init(|| {
        let lines: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::TRACE);
        subscriber.with_writer(move || Lines(lines)).init();
        lines
    })
}

struct Lines(&'static Mutex<Vec<u8>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn logs_and_metrics_show_no_ids_paths_headers_bodies_or_secrets() {
    let door = TestDoor::open().await;

    let body =
        r#"{"id":"canary-key","api_mode":"test","data":{"external_id":"canary-patient","email":"canary@example.org"}}"#;
    let mut requests = vec![
        Request::signed("fasten", OLD, "canary-id", body),
        Request::signed("fasten", OLD, "canary-id", body),
        Request::signed("live", OLD, "canary-id", body),
        Request::signed("fasten", WRONG, "canary-id", body),
        Request::signed("fasten", OLD, "canary.id", body),
        Request::signed_at("fasten", OLD, "canary-id", NOW - 301, body),
        Request::signed("dev", DEVELOPMENT_SECRET, "canary-id", body).and("x-forwarded-for", "canary-address"),
        Request::signed("canary-path", OLD, "canary-id", body),
    ];
    requests.push(Request { method: "CANARY", ..requests[0].clone() });
    requests.push(Request { body: b"canary".to_vec(), ..requests[0].clone() }.chunked(2).and("canary-header", "1"));
    let mut confidential = vec!["canary".to_owned(), "Y2xlYXQt".to_owned(), "b2xkLW9s".to_owned()];
    for request in &requests {
        door.send(request).await;
        confidential.push(request.headers[2].1.trim_start_matches("v1,").to_owned());
    }

    let logged = String::from_utf8(logged().lock().unwrap().clone()).unwrap();
    for outcome in ["accepted", "duplicate", "accepted_mode_mismatch", "stale_timestamp", "unknown_endpoint"] {
        assert!(logged.contains(&format!("outcome=\"{outcome}\"")), "{outcome}: {logged}");
    }
    let shown = logged + &door.metrics.encode().unwrap();
    for text in confidential {
        assert!(!shown.to_lowercase().contains(&text.to_lowercase()), "{text}: {shown}");
    }
}
