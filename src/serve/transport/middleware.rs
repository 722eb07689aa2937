//! Steps around every service, so that each error has our words and a reason: the caller's deadline, and errors of
//! tonic's own. Knows nothing of the services.

use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};

use crate::serve::refusal::Refusal;

/// A service that stops waiting for an answer at the caller's deadline (`grpc-timeout`). It bounds the time until an
/// answer begins. A stream that has begun is not cut.
#[derive(Clone)]
pub struct Deadline<S>(pub S);

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let deadline = timeout(request.headers()).and_then(|timeout| Instant::now().checked_add(timeout));
        let answer = self.0.call(request);
        let Some(deadline) = deadline else { return Box::pin(answer) };
        Box::pin(async move {
            let exceeded = |_| Ok(Status::from(Refusal::DeadlineExceeded).into_http());
            timeout_at(deadline, answer).await.unwrap_or_else(exceeded)
        })
    }
}

/// Parses a timeout such as `1500m`: at most eight digits and a unit. A malformed value counts as no deadline, as in
/// tonic.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || digits.starts_with('+') {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// Replaces an error that tonic makes itself, before or instead of a handler. Leaves answers and refusals unchanged.
pub fn explain_error(response: Response<Body>) -> Response<Body> {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    if status.code() == Code::Ok || !status.details().is_empty() {
        return response;
    }
    // tonic's message may quote the request, so it is not passed on.
    let refusal = match status.code() {
        Code::Unimplemented if status.message().is_empty() => Refusal::UnknownMethod,
        Code::Unimplemented => Refusal::CompressedRequest,
        Code::NotFound => Refusal::UnknownService,
        Code::OutOfRange | Code::ResourceExhausted => Refusal::RequestTooLarge,
        Code::Internal | Code::InvalidArgument => Refusal::MalformedRequest,
        _ => return response,
    };
    let mut explained = Status::from(refusal).into_http();
    // A client that compresses must know the accepted encodings.
    for (name, value) in response.headers().iter().filter(|(name, _)| *name == "grpc-accept-encoding") {
        explained.headers_mut().insert(name, value.clone());
    }
    explained
}
