//! Requests at the webhook door with confidential text wherever they can have it, and their answers.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cleat::config::DEVELOPMENT_SECRET;
use serde_json::{Value, json};
use testkit::signer;

use super::WORD;
use crate::support::{Daemon, SECRET};

const WRONG_SECRET: &str = "whsec_c2VudGluZWwtc2VudGluZWwtc2VudGluZWwtc2VudGluZWw=";

pub struct Sent {
    /// Number of requests that the door counts. Those that are not HTTP do not reach it.
    pub requests: usize,
    pub signatures: Vec<String>,
    /// Complete answers, with their headers.
    pub answers: Vec<String>,
}

#[derive(Clone)]
struct Request {
    line: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Whether the request ends after its body, whatever its `content-length` is.
    ends_early: bool,
}

impl Request {
    fn new(body: impl Into<Vec<u8>>) -> Self {
        Self::signed(SECRET, 0, "sentinel-webhook-id", body.into())
    }

    fn signed(secret: &str, age: u64, id: &str, body: Vec<u8>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the daemon judges timestamps by the real clock")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - age;
        let signed = signer::headers(secret, id, i64::try_from(now).unwrap(), &body);
        let more = [
            ("content-length", body.len().to_string()),
            ("sentinel-header", "sentinel".to_owned()),
            ("authorization", "Bearer sentinel".to_owned()),
        ];
        let headers = signed.into_iter().chain(more).collect();
        Self { line: "POST /webhooks/fasten?token=sentinel HTTP/1.1".into(), headers, body, ends_early: false }
    }

    fn line(self, line: &str) -> Self {
        Self { line: line.to_owned(), ..self }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(set, _)| *set != name);
        self.and(name, value)
    }

    fn and(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(set, _)| *set != name);
        self
    }

    fn signature(&self) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(name, _)| *name == "webhook-signature")?;
        value.strip_prefix("v1,").filter(|signature| signature.len() == 44).map(str::to_owned)
    }

    /// Sends the request. Returns everything that comes until the door closes.
    fn send(&self, daemon: &Daemon) -> String {
        let lines = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines = lines.collect::<Vec<_>>().concat();
        let head = format!("{}\r\nhost: sentinel\r\nconnection: close\r\n{lines}\r\n", self.line);
        let mut stream = TcpStream::connect(daemon.webhooks).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(&[head.as_bytes(), &self.body].concat()).unwrap();
        if self.ends_early {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// Marks every string of a body except the few that decide how it is read, and adds an unknown field.
fn marked(value: &Value, key: &str) -> Value {
    match value {
        Value::String(text) if matches!(key, "type" | "api_mode" | "date" | "consent_expires_at") => json!(text),
        Value::String(text) if key == "connection_status" && text != "rejected" => json!(text),
        Value::String(text) => json!(format!("{WORD}-{key}-{text}")),
        Value::Array(values) => values.iter().map(|value| marked(value, key)).collect(),
        Value::Object(fields) => {
            let known = fields.iter().map(|(key, value)| (key.clone(), marked(value, key)));
            known.chain([(format!("{WORD}-unknown"), json!([{ WORD: WORD }]))]).collect()
        }
        other => other.clone(),
    }
}

/// Returns a request for each known payload of Fasten.
fn fixtures() -> Vec<Request> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let bodies = paths.map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap());
    let requests: Vec<Request> = bodies.map(|body: Value| Request::new(marked(&body, "").to_string())).collect();
    assert_eq!(requests.len(), 14);
    requests
}

fn unreadable() -> Vec<Request> {
    let bodies = ["sentinel", "{\"id\":\"sentinel\"", "[\"sentinel\"]", "{\"api_mode\":\"sentinel\"}"];
    bodies.iter().map(|body| Request::signed(SECRET, 0, &format!("sentinel{}", body.len()), (*body).into())).collect()
}

/// Returns requests with the status of their refusal.
fn refused() -> Vec<(u16, Request)> {
    let good = || Request::new(r#"{"id":"sentinel"}"#);
    vec![
        (401, Request::signed(WRONG_SECRET, 0, "sentinel", b"sentinel".to_vec())),
        (401, Request::signed(SECRET, 3600, "sentinel", b"sentinel".to_vec())),
        (401, good().with("webhook-signature", "v1,sentinel v1a,sentinel")),
        (401, Request::signed(DEVELOPMENT_SECRET, 0, "sentinel", b"sentinel".to_vec())),
        (400, good().without("webhook-id")),
        (400, good().with("webhook-id", "sentinel.with.dots")),
        (400, good().with("webhook-timestamp", "sentinel")),
        (400, good().and("webhook-signature", "sentinel")),
        (400, Request { ends_early: true, ..good().with("content-length", "1000") }),
        (413, Request::new(WORD.repeat(40_000))),
        (404, good().line("POST /webhooks/sentinel?sentinel HTTP/1.1")),
        (405, good().line("SENTINEL /webhooks/fasten?sentinel HTTP/1.1")),
    ]
}

/// Returns requests that hyper refuses itself.
fn no_http() -> [Request; 3] {
    let good = || Request::new(r#"{"id":"sentinel"}"#);
    [
        good().line("POST /webhooks/fasten SENTINEL/1.1"),
        good().line("sentinel"),
        good().with("sentinel header", "sentinel"),
    ]
}

pub fn all(daemon: &Daemon) -> Sent {
    let mut sent = Sent { requests: 0, signatures: Vec::new(), answers: Vec::new() };
    let taken = fixtures().into_iter().chain(unreadable()).map(|request| (200, request));
    let twice = taken.flat_map(|taken| [taken.clone(), taken]);
    for (status, request) in refused().into_iter().chain(twice).chain(refused().into_iter().take(2)) {
        let answer = request.send(daemon);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status} is not {answer}");
        sent.signatures.extend(request.signature());
        sent.answers.push(answer);
        sent.requests += 1;
    }
    for request in no_http() {
        let answer = request.send(daemon);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        sent.answers.push(answer);
    }
    assert!(sent.signatures.len() > 20);
    sent
}
