//! The body of a request. Its end makes the request complete, which protects the connection from eviction. Knows
//! nothing of its contents.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::first_request::FirstRequest;
use super::seats::HttpPermit;

pub struct RequestBody {
    incoming: Incoming,
    permit: Arc<HttpPermit>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, permit: Arc<HttpPermit>, first: &FirstRequest) -> Self {
        permit.record_head();
        if first.take_whole(incoming.size_hint().exact()) || incoming.is_end_stream() {
            permit.record_request();
        }
        Self { incoming, permit }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(context);
        // A broken body does not complete the request.
        let ended = matches!(frame, Poll::Ready(None));
        if ended || (matches!(frame, Poll::Ready(Some(Ok(_)))) && self.incoming.is_end_stream()) {
            self.permit.record_request();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
