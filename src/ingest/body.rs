//! Reads a body: bounded in size, and charged to the room that all bodies share, as its bytes arrive.
//!
//! So memory is bounded by what clients have sent, not by what they announce, and a full room refuses instead of
//! growing. A request counts for more than its body: many empty ones fill the room too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::outcome::Refusal;
use crate::config::REQUEST_BYTES;
use crate::metrics::Gauge;

/// Of a refused body: more than any honest sender has left to send.
const DISCARDED_BYTES_MAX: u64 = 1024 * 1024;

/// The bytes that requests may take together until they are in the log or refused.
pub(super) struct Room {
    limit: u64,
    used: AtomicU64,
    shown: Gauge,
}

/// What one request has taken of the room. Given back when dropped.
pub(super) struct Charge {
    room: Arc<Room>,
    bytes: u64,
}

/// A whole body, and its charge.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    pub(super) charge: Charge,
}

impl Room {
    pub(super) fn new(limit: u64, shown: Gauge) -> Self {
        Self { limit, used: AtomicU64::new(0), shown }
    }
}

impl Charge {
    /// For a request, before its body.
    fn request(room: &Arc<Room>) -> Result<Self, Refusal> {
        let mut charge = Self { room: room.clone(), bytes: 0 };
        charge.add(REQUEST_BYTES.as_u64())?;
        Ok(charge)
    }

    fn add(&mut self, bytes: u64) -> Result<(), Refusal> {
        let fits = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.room.limit);
        // Relaxed: the number guards nothing but itself.
        let taken = self.room.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.map_err(|_| Refusal::Overloaded)?;
        self.bytes += bytes;
        self.room.shown.inc_by(bytes);
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.room.shown.dec_by(self.bytes);
    }
}

/// The whole body, of at most `limit` bytes. A body that announces more is refused unread.
pub(super) async fn read<B>(body: &mut B, room: &Arc<Room>, limit: usize) -> Result<Held, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let Some(announced) = usize::try_from(body.size_hint().lower()).ok().filter(|announced| *announced <= limit) else {
        return Err(Refusal::BodyTooLarge);
    };
    let mut charge = Charge::request(room)?;
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyBroken)?;
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > limit - bytes.len() {
            return Err(Refusal::BodyTooLarge);
        }
        charge.add(data.len() as u64)?;
        if bytes.is_empty() {
            // All at once, for growth would double it; and not before there is anything, for one who only announces.
            bytes.reserve(announced);
        }
        bytes.extend_from_slice(data);
    }
    Ok(Held { bytes: bytes.freeze(), charge })
}

/// Reads what is left of a refused body to nowhere, if it is not much: closing on unread bytes resets the connection,
/// and the client would not see its answer.
pub(super) async fn discard<B>(body: &mut B, deadline: Instant)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = DISCARDED_BYTES_MAX;
    while body.size_hint().lower() <= left {
        let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await else { return };
        left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::{Full, StreamBody};
    use hyper::body::{Frame, SizeHint};
    use tokio_stream::iter;

    use super::*;

    const EACH: u64 = REQUEST_BYTES.as_u64();

    /// For so many requests and bytes of bodies.
    fn room(requests: u64, bytes: u64) -> Arc<Room> {
        Arc::new(Room::new(requests * EACH + bytes, Gauge::default()))
    }

    fn chunks(sizes: &[usize]) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin + use<> {
        let sizes = sizes.to_vec();
        StreamBody::new(iter(sizes.into_iter().map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; size]))))))
    }

    /// With a content-length.
    struct Announced<B>(B, u64);

    impl<B: Body + Unpin> Body for Announced<B> {
        type Data = B::Data;
        type Error = B::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
            Pin::new(&mut self.0).poll_frame(context)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.1)
        }
    }

    fn used(room: &Room) -> u64 {
        assert_eq!(room.shown.get(), room.used.load(Ordering::Relaxed));
        room.shown.get()
    }

    #[tokio::test]
    async fn a_body_is_charged_until_it_is_dropped() {
        let room = room(1, 100);
        let held = read(&mut chunks(&[30, 0, 40]), &room, 70).await.ok().unwrap();
        assert_eq!((held.bytes.len(), used(&room)), (70, EACH + 70));
        let Held { bytes, charge } = held;
        drop(bytes);
        assert_eq!(used(&room), EACH + 70);
        drop(charge);
        assert_eq!(used(&room), 0);
    }

    #[tokio::test]
    async fn a_full_room_refuses_and_gives_back_what_the_refused_one_had_taken() {
        let room = room(2, 100);
        let first = read(&mut chunks(&[60]), &room, 100).await.ok().unwrap();
        assert_eq!(read(&mut chunks(&[30, 11]), &room, 100).await.err(), Some(Refusal::Overloaded));
        assert_eq!(used(&room), EACH + 60);
        let second = read(&mut chunks(&[30, 10]), &room, 100).await.ok().unwrap();
        assert_eq!(used(&room), 2 * EACH + 100);
        drop((first, second));
        assert_eq!(used(&room), 0);
    }

    #[tokio::test]
    async fn empty_bodies_fill_the_room_too() {
        let room = room(2, 0);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(read(&mut chunks(&[]), &room, 100).await.ok().unwrap());
        }
        assert_eq!(read(&mut chunks(&[]), &room, 100).await.err(), Some(Refusal::Overloaded));
        held.pop();
        assert!(read(&mut chunks(&[]), &room, 100).await.is_ok());
    }

    #[tokio::test]
    async fn the_buffer_of_an_announced_body_is_as_large_as_the_body() {
        let mut body = Announced(chunks(&[1000, 1000, 1001]), 3001);
        let held = read(&mut body, &room(1, 4000), 4000).await.ok().unwrap();
        assert_eq!(held.bytes.try_into_mut().unwrap().capacity(), 3001);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whether_it_says_so_or_not() {
        let room = room(2, 1000);
        assert!(read(&mut Full::new(Bytes::from_static(b"12345678")), &room, 8).await.is_ok());
        let mut announced = Full::new(Bytes::from_static(b"123456789"));
        assert_eq!(read(&mut announced, &room, 8).await.err(), Some(Refusal::BodyTooLarge));
        assert_eq!(announced.size_hint().exact(), Some(9), "it was not touched");
        assert_eq!(read(&mut chunks(&[4, 4, 1]), &room, 8).await.err(), Some(Refusal::BodyTooLarge));
        assert_eq!(used(&room), 0);
    }
}
