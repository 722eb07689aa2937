//! Errors as RFC 9457 problem documents. Knows none of the errors.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};
use serde::Serialize;

/// The answer of a handler.
pub type Reply = Response<Full<Bytes>>;

#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    /// Stable; the same words as the API's `ErrorInfo.reason`.
    reason: &'a str,
    detail: &'a str,
}

/// Builds a problem document. `reason` is for programs, `detail` for a person. Neither may quote the request.
pub fn problem(status: StatusCode, reason: &str, detail: &str) -> Reply {
    let title = status.canonical_reason().unwrap_or_default();
    let document = Problem { title, status: status.as_u16(), reason, detail };
    // Strings and a number can always be encoded as JSON.
    let body = serde_json::to_vec(&document).unwrap_or_default();
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/problem+json"));
    reply
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_problem_names_its_status_twice_and_its_reason() {
        let reply = problem(StatusCode::NOT_FOUND, "ENDPOINT_NOT_FOUND", "no such endpoint");
        assert_eq!(reply.status(), 404);
        assert_eq!(reply.headers()[CONTENT_TYPE], "application/problem+json");
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        let expected =
            r#"{"title":"Not Found","status":404,"reason":"ENDPOINT_NOT_FOUND","detail":"no such endpoint"}"#;
        assert_eq!(body, expected);
    }
}
