//! The operators' port: `/metrics`, `/livez`, `/readyz`.
//!
//! Asks a function whether cleat is ready. Knows no other part of the daemon.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;

use crate::http::{self, Drain, HostKind, ListenerLimits, Observer, Reply, problem};
use crate::metrics::{self, Metrics};

/// Limits that are enough for any monitoring. `config.toml` documents them.
const LIMITS: ListenerLimits = ListenerLimits { connections: 64, header_timeout: Duration::from_secs(2) };

/// Returns the reasons why the daemon is not ready, none if it is ready. Must not block, nor quote anything
/// confidential.
pub type Readiness = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// The content of the port.
#[derive(Clone)]
pub struct Operations {
    metrics: Metrics,
    readiness: Readiness,
}

impl Operations {
    pub fn new(metrics: Metrics, readiness: Readiness) -> Self {
        Self { metrics, readiness }
    }

    /// Serves until `drain`; see [`http::serve`].
    pub async fn serve(self, listener: TcpListener, drain: Drain) {
        let observer = Observer::new(&self.metrics, "operations", |_| {});
        let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let handler = move |request: Request<_>, _| std::future::ready(self.answer(&request, is_loopback));
        http::serve(listener, LIMITS, observer, drain, handler).await;
    }

    fn answer<B>(&self, request: &Request<B>, is_loopback: bool) -> Reply {
        // A web page under its own host name must not read a loopback port.
        if is_loopback && HostKind::of(request.uri(), request.headers()) == HostKind::Name {
            let detail = "the host must be an address or localhost";
            return problem(StatusCode::MISDIRECTED_REQUEST, "HOST_NOT_LOCAL", detail);
        }
        match request.uri().path() {
            "/livez" | "/readyz" | "/metrics" if !matches!(*request.method(), Method::GET | Method::HEAD) => {
                let mut reply = problem(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "only GET and HEAD");
                reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                reply
            }
            "/livez" => reply(StatusCode::OK, "application/json", r#"{"live":true}"#),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            _ => problem(StatusCode::NOT_FOUND, "NOT_FOUND", "there are /metrics, /livez and /readyz"),
        }
    }

    fn ready(&self) -> Reply {
        let reasons = (self.readiness)();
        let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
        reply(status, "application/json", body.to_string())
    }

    fn metrics(&self) -> Reply {
        match self.metrics.encode() {
            Ok(text) => reply(StatusCode::OK, metrics::CONTENT_TYPE, text),
            Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "METRICS_FAILED", "the metrics cannot be printed"),
        }
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn answer(reasons: &[&str], request: Request<()>, is_loopback: bool) -> (StatusCode, String) {
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        let operations = Operations::new(Metrics::new(), Arc::new(move || reasons.clone()));
        let (parts, body) = operations.answer(&request, is_loopback).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, String::from_utf8(body.into()).unwrap())
    }

    async fn ask(reasons: &[&str], method: Method, path: &str) -> (StatusCode, String) {
        answer(reasons, Request::builder().method(method).uri(path).body(()).unwrap(), true).await
    }

    #[tokio::test]
    async fn readiness_lists_its_reasons_and_liveness_asks_none() {
        let ready = ask(&[], Method::GET, "/readyz").await;
        assert_eq!(ready, (StatusCode::OK, r#"{"ready":true,"reasons":[]}"#.into()));
        let reasons = ["views are catching up", "the clock is wrong"];
        let (status, body) = ask(&reasons, Method::GET, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, r#"{"ready":false,"reasons":["views are catching up","the clock is wrong"]}"#);
        assert_eq!(ask(&reasons, Method::GET, "/livez").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_printed_to_the_end() {
        let (status, body) = ask(&[], Method::GET, "/metrics").await;
        assert!(status == StatusCode::OK && body.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        assert_eq!(ask(&[], Method::GET, "/").await.0, StatusCode::NOT_FOUND);
        assert_eq!(ask(&[], Method::POST, "/readyz").await.0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn a_loopback_port_refuses_the_name_of_another_host() {
        let status = async |host: &str, path: &str, is_loopback| {
            let request = Request::get(path).header("host", host).body(()).unwrap();
            answer(&[], request, is_loopback).await.0
        };
        for path in ["/metrics", "/readyz", "/livez"] {
            for host in ["localhost:7482", "127.0.0.1", "[::1]:7482", "192.168.1.7"] {
                assert_eq!(status(host, path, true).await, StatusCode::OK, "{host}");
            }
            assert_eq!(status("rebound.example", path, true).await, StatusCode::MISDIRECTED_REQUEST);
            assert_eq!(status("cleat.internal", path, false).await, StatusCode::OK);
        }
    }
}
