//! Errors that tonic makes itself, before or instead of a handler. They are replaced by errors in our words and with a
//! reason, like all others. Knows nothing of the handlers.

use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::{Code, Status};

use super::status::Refusal;

/// Replaces an error of tonic's own. Leaves answers and refusals unchanged.
pub(super) fn explained(response: Response<Body>) -> Response<Body> {
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
