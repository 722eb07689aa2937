//! Body of a request: it must arrive in time, and its messages are bounded. They are charged to the quota when they are
//! announced, before memory is taken for them. Knows nothing of the messages' content.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::Status;

use super::bounds::MethodBounds;
use super::open_stream::{FREE_BYTES, OpenStream};
use crate::serve::refusal::Refusal;

/// Time within which a request must be complete.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time within which each message of a client's stream must be complete, once cleat has asked for it.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct BoundedBody<B = Incoming> {
    body: B,
    bounds: MethodBounds,
    timeout: Duration,
    /// Time at which the client must have ended. `None` if there is no limit.
    expires: Option<Instant>,
    /// `None` while a client's stream is not asked for a message.
    deadline: Option<Pin<Box<Sleep>>>,
    framing: Framing,
    /// Announced lengths of the last two messages.
    last_messages: [usize; 2],
    stream: Arc<OpenStream>,
}

impl<B> BoundedBody<B> {
    pub fn new(body: B, bounds: MethodBounds, stream: Arc<OpenStream>) -> Self {
        let timeout = if bounds.is_client_stream { MESSAGE_TIMEOUT } else { REQUEST_TIMEOUT };
        let expires = bounds.age_max.map(|age| Instant::now() + age);
        let deadline = Some(Box::pin(sleep(timeout)));
        Self { body, bounds, timeout, expires, deadline, framing: Framing::default(), last_messages: [0; 2], stream }
    }

    /// Starts the deadline unless it is running. Called before more of the body is read.
    fn begin_read(&mut self) {
        if self.deadline.is_none() {
            let due = Instant::now() + self.timeout;
            self.deadline = Some(Box::pin(sleep_until(self.expires.map_or(due, |expires| due.min(expires)))));
        }
    }

    fn account(&mut self, data: &Bytes) -> Result<(), Refusal> {
        let mut rest = data.clone();
        while rest.has_remaining() {
            match self.framing.advance(&mut rest) {
                MessagePart::Begun(bytes) if bytes > self.bounds.message_bytes => return Err(Refusal::RequestTooLarge),
                MessagePart::Begun(bytes) => self.hold(bytes),
                MessagePart::Complete if self.bounds.is_client_stream => self.deadline = None,
                MessagePart::Complete | MessagePart::Partial => {}
            }
        }
        let held = self.last_messages.iter().sum();
        let charged = if held > FREE_BYTES { held } else { 0 };
        self.stream.charge_request(charged).map_err(|_| Refusal::InflightBytesFull)
    }

    /// Accounts for an announced message. The last two count, because a handler of a client's stream may keep one
    /// message while it waits for the next.
    fn hold(&mut self, bytes: usize) {
        let [_, last] = self.last_messages;
        self.last_messages = [last, bytes];
    }
}

impl<B: HttpBody<Data = Bytes, Error = hyper::Error> + Unpin> HttpBody for BoundedBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        // Checked even when data has arrived: messages that each arrive in time could continue indefinitely.
        if this.expires.is_some_and(|expires| Instant::now() >= expires) {
            return Poll::Ready(Some(Err(Refusal::RequestTimeout.into())));
        }
        this.begin_read();
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let accounted = frame.data_ref().map_or(Ok(()), |data| this.account(data));
                Poll::Ready(Some(accounted.map(|()| frame).map_err(Status::from)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Status::from_error(error.into())))),
            Poll::Ready(None) => {
                this.deadline = None;
                Poll::Ready(None)
            }
            Poll::Pending => match &mut this.deadline {
                Some(deadline) => deadline.as_mut().poll(context).map(|()| Some(Err(Refusal::RequestTimeout.into()))),
                None => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Parser of message boundaries. Each message follows five bytes: a flag and its length.
#[derive(Default)]
struct Framing {
    header: [u8; 5],
    header_bytes: usize,
    /// Bytes of the announced message that have not arrived.
    missing: usize,
}

enum MessagePart {
    /// A message of this many bytes has been announced.
    Begun(usize),
    Partial,
    /// The last byte of a message has arrived.
    Complete,
}

impl Framing {
    /// Consumes a part of the data.
    fn advance(&mut self, data: &mut Bytes) -> MessagePart {
        if self.missing > 0 {
            let read = self.missing.min(data.len());
            data.advance(read);
            self.missing -= read;
            return if self.missing == 0 { MessagePart::Complete } else { MessagePart::Partial };
        }
        let read = data.len().min(self.header.len() - self.header_bytes);
        data.copy_to_slice(&mut self.header[self.header_bytes..self.header_bytes + read]);
        self.header_bytes += read;
        if self.header_bytes < self.header.len() {
            return MessagePart::Partial;
        }
        self.header_bytes = 0;
        let [_, length @ ..] = self.header;
        self.missing = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if self.missing == 0 { MessagePart::Complete } else { MessagePart::Begun(self.missing) }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::serve::limits::{Caller, Quota, Reservation};
    use crate::serve::transport::seats::GrpcSeats;

    /// Body of a client that sends messages without a pause.
    struct Eager;

    impl HttpBody for Eager {
        type Data = Bytes;
        type Error = hyper::Error;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 5])))))
        }
    }

    #[tokio::test]
    async fn a_stream_ends_at_its_age_however_much_it_sends() {
        let caller = Caller::User(1);
        let connection = Arc::new(GrpcSeats::new().take(caller).unwrap());
        for age in [Duration::ZERO, Duration::from_secs(60)] {
            let bounds =
                MethodBounds { is_reserved: false, is_client_stream: true, age_max: Some(age), message_bytes: 10 };
            let charge = Reservation::empty(&Quota::new(10, 10), caller);
            let mut body = BoundedBody::new(Eager, bounds, OpenStream::new(connection.clone(), charge, None));
            let frame = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Some(frame)) = frame else { panic!("it has ended, or there is more") };
            assert_eq!(frame.is_err(), age.is_zero());
        }
    }

    /// Returns the announced lengths and the number of complete messages, reading `data` in pieces of `piece` bytes.
    fn read(data: &[u8], piece: usize) -> (Vec<usize>, usize) {
        let mut framing = Framing::default();
        let mut begun = Vec::new();
        let mut complete = 0;
        for piece in data.chunks(piece) {
            let mut piece = Bytes::copy_from_slice(piece);
            while piece.has_remaining() {
                match framing.advance(&mut piece) {
                    MessagePart::Begun(bytes) => begun.push(bytes),
                    MessagePart::Complete => complete += 1,
                    MessagePart::Partial => {}
                }
            }
        }
        (begun, complete)
    }

    #[test]
    fn messages_are_found_however_the_data_is_cut() {
        let data = [&[0, 0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 1, 0, 9]].concat();
        for piece in 1..=data.len() {
            assert_eq!(read(&data, piece), (vec![3, 256], 2), "in pieces of {piece}");
        }
    }
}
