//! With everything logged that `RUST_LOG` can turn on, nothing confidential leaves the daemon: not in its log, its
//! metrics or its readiness, nor in its answers to requests that it refuses.
//!
//! All confidential texts contain one word. The tests search for it as text, and as the bytes that a debug print shows.

mod asked;
mod sent;

use std::path::Path;

use crate::support::{Daemon, Launch, SECRET, until};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Word in every confidential text, in some form.
const WORD: &str = "sentinel";

/// Returns the texts that must not come out, all in lower case.
fn confidential(signatures: &[String]) -> Vec<String> {
    let secret = SECRET.trim_start_matches("whsec_");
    let key = String::from_utf8(STANDARD.decode(secret).unwrap()).unwrap();
    let mut all = Vec::new();
    for text in [WORD, &key[..20], &secret[..20]] {
        let bytes = text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        let hex = text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        all.extend([text.to_lowercase(), bytes, hex]);
    }
    all.extend(signatures.iter().map(|signature| signature[..20].to_lowercase()));
    all
}

fn shows_none(what: &str, text: &str, confidential: &[String]) {
    for line in text.lines() {
        let lower = line.to_lowercase();
        let shown = confidential.iter().find(|text| lower.contains(text.as_str()));
        assert!(shown.is_none(), "{what} shows {shown:?}: {line}");
    }
}

#[test]
fn nothing_private_is_in_logs_metrics_readiness_or_refusals() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch { env: &[("RUST_LOG", "trace")], ..Launch::new(directory.path()) }.start().ready();
    let sent = sent::all(&daemon);
    let asked = asked::all(&daemon);
    let (ready, readiness) = daemon.operations("/readyz?sentinel");
    assert_eq!(ready, 200, "one stale webhook among fresh ones: {readiness}");
    let (_, metrics) = daemon.operations("/metrics?sentinel");
    assert_eq!(daemon.operations("/sentinel").0, 404);
    let log = complete_log(daemon, directory.path(), sent.requests);

    let confidential = confidential(&sent.signatures);
    for (what, text) in [("the log", &log), ("metrics", &metrics), ("readiness", &readiness)] {
        shows_none(what, text, &confidential);
    }
    for text in sent.answers.iter().chain(&asked) {
        shows_none("an answer", text, &confidential);
    }
    assert_usual_output(&log, &metrics);
}

/// Stops the daemon and returns its complete log.
fn complete_log(daemon: Daemon, directory: &Path, requests: usize) -> String {
    let visits = || daemon.log().matches(r#""message":"webhook""#).count();
    until("every request has its line", || visits() >= requests);
    assert_eq!(visits(), requests);
    assert!(daemon.terminate().success());
    std::fs::read_to_string(directory.join("stderr")).unwrap()
}

/// Checks the usual output, so that a daemon without any output is noticed.
fn assert_usual_output(log: &str, metrics: &str) {
    let outcomes = [
        "accepted",
        "duplicate",
        "signature_mismatch",
        "stale_timestamp",
        "development_secret_refused",
        "header_missing",
        "header_malformed",
        "header_repeated",
        "body_too_large",
        "body_broken",
        "method_not_allowed",
        "unknown_endpoint",
    ];
    for outcome in outcomes {
        assert!(log.contains(&format!(r#""outcome":"{outcome}""#)), "no {outcome} in {log}");
        assert!(metrics.contains(&format!(r#"outcome="{outcome}""#)), "no {outcome} in {metrics}");
    }
    for message in ["listening", "the log is open", "serving", "stopping", "stopped"] {
        assert!(log.contains(&format!(r#""message":"{message}""#)), "no {message} in {log}");
    }
}
