//! Reads a body: bounded in size, and charged to the room that all bodies share, as its bytes arrive.
//!
//! So memory is bounded by what clients have sent, not by what they announce, and a full room refuses instead of
//! growing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::outcome::Refusal;
use crate::metrics::Gauge;

/// Of a refused body: more than any honest sender has left to send.
const DISCARDED_BYTES_MAX: u64 = 1024 * 1024;

/// The bytes that unanswered bodies may take together.
pub(super) struct Room {
    limit: u64,
    used: AtomicU64,
    shown: Gauge,
}

/// What one body has taken of the room. Given back when dropped.
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
    fn none(room: &Arc<Room>) -> Self {
        Self { room: room.clone(), bytes: 0 }
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
    if body.size_hint().lower() > limit as u64 {
        return Err(Refusal::BodyTooLarge);
    }
    let mut charge = Charge::none(room);
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyBroken)?;
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > limit - bytes.len() {
            return Err(Refusal::BodyTooLarge);
        }
        charge.add(data.len() as u64)?;
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
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use tokio_stream::iter;

    use super::*;

    fn room(limit: u64) -> Arc<Room> {
        Arc::new(Room::new(limit, Gauge::default()))
    }

    fn chunks(sizes: &[usize]) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin + use<> {
        let sizes = sizes.to_vec();
        StreamBody::new(iter(sizes.into_iter().map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; size]))))))
    }

    fn used(room: &Room) -> u64 {
        assert_eq!(room.shown.get(), room.used.load(Ordering::Relaxed));
        room.shown.get()
    }

    #[tokio::test]
    async fn a_body_is_charged_until_it_is_dropped() {
        let room = room(100);
        let held = read(&mut chunks(&[30, 0, 40]), &room, 70).await.ok().unwrap();
        assert_eq!((held.bytes.len(), used(&room)), (70, 70));
        let Held { bytes, charge } = held;
        drop(bytes);
        assert_eq!(used(&room), 70);
        drop(charge);
        assert_eq!(used(&room), 0);
    }

    #[tokio::test]
    async fn a_full_room_refuses_and_gives_back_what_the_refused_one_had_taken() {
        let room = room(100);
        let first = read(&mut chunks(&[60]), &room, 100).await.ok().unwrap();
        assert_eq!(read(&mut chunks(&[30, 11]), &room, 100).await.err(), Some(Refusal::Overloaded));
        assert_eq!(used(&room), 60);
        let second = read(&mut chunks(&[30, 10]), &room, 100).await.ok().unwrap();
        assert_eq!(used(&room), 100);
        drop((first, second));
        assert_eq!(used(&room), 0);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whether_it_says_so_or_not() {
        let room = room(1000);
        assert!(read(&mut Full::new(Bytes::from_static(b"12345678")), &room, 8).await.is_ok());
        let mut announced = Full::new(Bytes::from_static(b"123456789"));
        assert_eq!(read(&mut announced, &room, 8).await.err(), Some(Refusal::BodyTooLarge));
        assert_eq!(announced.size_hint().exact(), Some(9), "it was not touched");
        assert_eq!(read(&mut chunks(&[4, 4, 1]), &room, 8).await.err(), Some(Refusal::BodyTooLarge));
        assert_eq!(used(&room), 0);
    }
}
