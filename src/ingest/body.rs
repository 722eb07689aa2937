//! Reads a body, bounded in size and in time, into a buffer that is reserved from the budget before it grows.
//!
//! So memory is bounded by the reservations, not by the announcements of clients, and a full budget refuses instead of
//! growing. A request counts for more than its body: many empty ones fill the budget, too.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, timeout_at};

use super::budget::{InflightBudget, InflightReservation, SMALL_BODY_BYTES};
use super::outcome::WebhookRefusal;

/// Maximum number of bytes read from a refused body: more than any honest sender has left to send.
const DISCARDED_BYTES_MAX: u64 = 1024 * 1024;

/// Time that any body may take. `config.toml` documents it, and the rate.
const BODY_GRACE: Duration = Duration::from_secs(5);
/// Minimum rate of a longer body, in bytes per second.
const BODY_RATE: u64 = 64 * 1024;

/// A whole body with its reservation.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    pub(super) reservation: InflightReservation,
}

/// Reads the frames of a body, and refuses a body slower than the minimum rate.
struct Paced<'a, B> {
    body: &'a mut B,
    started: Instant,
    received: u64,
}

impl<'a, B> Paced<'a, B>
where
    B: Body<Data = Bytes> + Unpin,
{
    fn new(body: &'a mut B) -> Self {
        Self { body, started: Instant::now(), received: 0 }
    }

    /// The next frame. `None` if the body has ended.
    async fn next_frame(&mut self) -> Result<Option<Frame<Bytes>>, WebhookRefusal> {
        let deadline = self.started + BODY_GRACE + Duration::from_secs(self.received / BODY_RATE);
        let frame = timeout_at(deadline, self.body.frame()).await.map_err(|_| WebhookRefusal::BodySlow)?;
        let frame = frame.transpose().map_err(|_| WebhookRefusal::BodyBroken)?;
        let arrived = frame.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len);
        self.received += arrived as u64;
        Ok(frame)
    }
}

/// Reads the whole body, of at most `limit` bytes. Refuses a body that announces more, without reading it.
pub(super) async fn read<B>(body: &mut B, budget: &InflightBudget, limit: usize) -> Result<Held, WebhookRefusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let size = body.size_hint();
    let announced = usize::try_from(size.lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(WebhookRefusal::BodyTooLarge);
    }
    let longest = if size.exact().is_some() { announced } else { limit };
    let mut reservation = budget.reserve(announced).await?;
    let revoked = reservation.revoked();
    let bytes = tokio::select! {
        biased;
        () = revoked.notified() => return Err(WebhookRefusal::Overloaded),
        bytes = fill(Paced::new(body), &mut reservation, announced, longest) => bytes?,
    };
    reservation.complete()?;
    Ok(Held { bytes: bytes.into(), reservation })
}

async fn fill<B>(
    mut body: Paced<'_, B>,
    reservation: &mut InflightReservation,
    announced: usize,
    longest: usize,
) -> Result<Vec<u8>, WebhookRefusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut bytes = Vec::new();
    while let Some(frame) = body.next_frame().await? {
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > longest - bytes.len() {
            return Err(WebhookRefusal::BodyTooLarge);
        }
        let needed = bytes.len() + data.len();
        if needed > bytes.capacity() {
            // Never the announced size at once: a sender may announce much and send nothing.
            let doubled = (2 * bytes.capacity()).max(announced.min(SMALL_BODY_BYTES)).min(longest);
            let capacity = doubled.max(needed);
            reservation.grow(bytes.capacity(), capacity).await?;
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// Reads and drops the rest of a refused body, if it is not much. Closing a connection with unread bytes resets it, and
/// the client would not see its answer.
pub(super) async fn discard<B>(body: &mut B, deadline: Instant)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut body = Paced::new(body);
    while body.received + body.body.size_hint().lower() <= DISCARDED_BYTES_MAX {
        let Ok(frame) = timeout_at(deadline, body.next_frame()).await else { return };
        let Ok(Some(_)) = frame else { return };
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
    use crate::config::REQUEST_BYTES;
    use crate::metrics::Gauge;

    const EACH: u64 = REQUEST_BYTES.as_u64();

    struct Budget {
        budget: InflightBudget,
        shown: Gauge,
    }

    impl Budget {
        /// Each share holds this many requests and bytes of bodies.
        fn new(requests: u64, bytes: u64) -> Self {
            let shown = Gauge::default();
            Self { budget: InflightBudget::new(2 * (requests * EACH + bytes), &shown), shown }
        }

        async fn read<B: Body<Data = Bytes> + Unpin>(
            &self,
            body: &mut B,
            limit: usize,
        ) -> Result<Held, WebhookRefusal> {
            read(body, &self.budget, limit).await
        }
    }

    fn chunks(sizes: &[usize]) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin + use<> {
        let sizes = sizes.to_vec();
        StreamBody::new(iter(sizes.into_iter().map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; size]))))))
    }

    /// A body with a content-length.
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

    /// A body whose rest never arrives.
    fn stalled(size: usize) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin {
        let arrived = iter([Ok(Frame::data(Bytes::from(vec![b'x'; size])))]);
        StreamBody::new(tokio_stream::StreamExt::chain(arrived, tokio_stream::pending()))
    }

    /// Whether a read still waits for the rest of its body.
    async fn stays<T>(read: impl Future<Output = T> + Unpin) -> bool {
        tokio::time::timeout(Duration::from_millis(20), read).await.is_err()
    }

    #[tokio::test]
    async fn a_body_is_charged_until_its_reservation_is_dropped() {
        let budget = Budget::new(1, 100);
        let held = budget.read(&mut chunks(&[30, 0, 40]), 70).await.ok().unwrap();
        assert_eq!((held.bytes.len(), budget.shown.get()), (70, EACH + 70));
        let Held { bytes, reservation } = held;
        drop(bytes);
        assert_eq!(budget.shown.get(), EACH + 70);
        drop(reservation);
        assert_eq!(budget.shown.get(), 0);
    }

    #[tokio::test]
    async fn a_full_share_refuses_and_gets_back_what_a_refused_body_had() {
        let budget = Budget::new(2, 100);
        let first = budget.read(&mut chunks(&[60]), 100).await.ok().unwrap();
        assert_eq!(budget.read(&mut chunks(&[30, 11]), 100).await.err(), Some(WebhookRefusal::Overloaded));
        assert_eq!(budget.shown.get(), EACH + 60);
        let second = budget.read(&mut chunks(&[30, 10]), 40).await.ok().unwrap();
        assert_eq!(budget.shown.get(), 2 * EACH + 100);
        drop((first, second));
        assert_eq!(budget.shown.get(), 0);
    }

    #[tokio::test]
    async fn empty_bodies_fill_the_budget_too() {
        let budget = Budget::new(2, 0);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(budget.read(&mut chunks(&[]), 100).await.ok().unwrap());
        }
        assert_eq!(budget.read(&mut chunks(&[]), 100).await.err(), Some(WebhookRefusal::Overloaded));
        held.pop();
        assert!(budget.read(&mut chunks(&[]), 100).await.is_ok());
    }

    #[tokio::test]
    async fn large_bodies_leave_the_share_of_small_ones_alone() {
        let budget = Budget::new(1, 20_000);
        let mut large = Announced(chunks(&[20_000]), 20_000);
        let _large = budget.read(&mut large, 20_000).await.ok().unwrap();
        assert_eq!(budget.read(&mut chunks(&[17_000]), 20_000).await.err(), Some(WebhookRefusal::Overloaded));
        let _small = budget.read(&mut chunks(&[16_000]), 20_000).await.ok().unwrap();
        assert_eq!(budget.shown.get(), 2 * EACH + 36_000);
    }

    #[tokio::test]
    async fn a_new_body_takes_the_room_of_the_one_that_waits_longest() {
        let budget = Budget::new(2, 200);
        let whole = budget.read(&mut chunks(&[100]), 100).await.ok().unwrap();
        let mut waits = stalled(100);
        let mut oldest = Box::pin(budget.read(&mut waits, 100));
        assert!(stays(&mut oldest).await);
        assert_eq!(budget.shown.get(), 2 * EACH + 200);

        let mut next = stalled(100);
        let mut next = Box::pin(budget.read(&mut next, 100));
        let (oldest, stayed) = tokio::join!(oldest, stays(&mut next));
        assert_eq!((oldest.err(), stayed), (Some(WebhookRefusal::Overloaded), true));
        assert_eq!(budget.shown.get(), 2 * EACH + 200);
        drop((whole, next));
        assert_eq!(budget.shown.get(), 0);
    }

    #[tokio::test]
    async fn an_announced_body_reserves_16_kib_and_then_doubles() {
        let budget = Budget::new(1, 256 * 1024);
        let mut waits = Announced(stalled(1), 256 * 1024);
        let mut reading = Box::pin(budget.read(&mut waits, 256 * 1024));
        assert!(stays(&mut reading).await);
        assert_eq!(budget.shown.get(), EACH + 16 * 1024);
        drop(reading);

        let mut whole = Announced(chunks(&[40_000; 5]), 200_000);
        let held = budget.read(&mut whole, 256 * 1024).await.ok().unwrap();
        assert_eq!((held.bytes.len() as u64, budget.shown.get()), (200_000, EACH + 200_000));
    }

    #[tokio::test]
    async fn a_body_is_charged_by_its_capacity() {
        let budget = Budget::new(1, 40_000);
        let held = budget.read(&mut chunks(&[10_000, 1]), 40_000).await.ok().unwrap();
        assert_eq!((held.bytes.len(), budget.shown.get()), (10_001, EACH + 20_000));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whether_it_says_so_or_not() {
        let budget = Budget::new(2, 1000);
        assert!(budget.read(&mut Full::new(Bytes::from_static(b"12345678")), 8).await.is_ok());
        let mut announced = Full::new(Bytes::from_static(b"123456789"));
        assert_eq!(budget.read(&mut announced, 8).await.err(), Some(WebhookRefusal::BodyTooLarge));
        assert_eq!(announced.size_hint().exact(), Some(9), "it was not touched");
        assert_eq!(budget.read(&mut chunks(&[4, 4, 1]), 8).await.err(), Some(WebhookRefusal::BodyTooLarge));
        assert_eq!(budget.shown.get(), 0);
    }
}
