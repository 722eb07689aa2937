//! Body of an answer: hands over small pieces, and charges a message that is larger than one piece to the quota until
//! its last piece is handed over. Knows nothing of the content.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::codegen::http::HeaderMap;

use super::open_stream::{FREE_BYTES, OpenStream};
use super::progress::Progress;
use crate::serve::limits::Reservation;
use crate::serve::refusal::Refusal;

pub(super) struct AnswerBody {
    content: Body,
    /// Part of the current message that is not handed over yet.
    rest: Bytes,
    /// Charge for the current message.
    charge: Reservation,
    progress: Arc<Progress>,
    refused: bool,
    /// Kept until the answer has been sent.
    _stream: Arc<OpenStream>,
}

impl AnswerBody {
    pub fn new(content: Body, charge: Reservation, progress: Arc<Progress>, stream: Arc<OpenStream>) -> Self {
        Self { content, rest: Bytes::new(), charge, progress, refused: false, _stream: stream }
    }

    /// Ends the answer with a refusal, in place of a message that the quota has no room for.
    fn refuse(&mut self) -> Frame<Bytes> {
        self.content = Body::empty();
        self.refused = true;
        let mut trailers = HeaderMap::new();
        if Status::from(Refusal::InflightBytesFull).add_header(&mut trailers).is_err() {
            tracing::error!("a refusal cannot be written as trailers");
        }
        Frame::trailers(trailers)
    }

    /// Takes at most [`FREE_BYTES`] of the current message.
    fn take_piece(&mut self) -> Frame<Bytes> {
        let bytes = self.rest.split_to(self.rest.len().min(FREE_BYTES));
        let piece = self.progress.hand_over(&bytes);
        if self.rest.is_empty() {
            self.rest = Bytes::new();
            self.charge.release();
        }
        Frame::data(piece)
    }
}

/// Returns the charge for a message. Its buffer grows by doubling, so it may take twice the message's length.
fn charged(bytes: usize) -> usize {
    if bytes > FREE_BYTES { 2 * bytes } else { 0 }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        if this.progress.is_expired() {
            return Poll::Ready(Some(Err(h2::Error::from(h2::Reason::CANCEL).into())));
        }
        // Trailers wait, too, so that the stream is watched until its last byte was taken.
        ready!(this.progress.poll_taken(context));
        if this.refused {
            return Poll::Ready(None);
        }
        while this.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut this.content).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(status)) => return Poll::Ready(Some(Err(status.into()))),
                None => return Poll::Ready(None),
            };
            match frame.into_data() {
                Ok(data) => this.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
            if this.charge.resize(charged(this.rest.len())).is_err() {
                this.rest = Bytes::new();
                return Poll::Ready(Some(Ok(this.refuse())));
            }
        }
        Poll::Ready(Some(Ok(this.take_piece())))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && (self.refused || self.content.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
