//! The API's connections: so many at once, and each must begin to speak soon. Knows nothing of what is served.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_stream::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use crate::http::accept;

/// A client needs one connection, so that this is many clients; what each may hold (streams, windows) is bounded too, and
/// file descriptors stay for the webhooks. Further ones wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 256;

/// For the client's preface. After it the server's own pings find out who is silent.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
const PREFACE_BYTES: usize = 24;

/// Every connection that comes, while there are seats.
pub(super) fn incoming<S>(
    poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
) -> impl Stream<Item = io::Result<Accepted<S>>> {
    bounded(poll_accept, CONNECTIONS_MAX, PREFACE_TIMEOUT)
}

fn bounded<S>(
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    connections: usize,
    preface_timeout: Duration,
) -> impl Stream<Item = io::Result<Accepted<S>>> {
    let seats = Arc::new(Semaphore::new(connections));
    stream! {
        loop {
            let (stream, seat) = accept(&seats, &mut poll_accept).await;
            let preface = Some(Preface { missing: PREFACE_BYTES, timeout: Box::pin(sleep(preface_timeout)) });
            yield Ok(Accepted { stream, preface, _seat: seat });
        }
    }
}

/// A connection in its seat.
pub(super) struct Accepted<S> {
    stream: S,
    /// Until it has come.
    preface: Option<Preface>,
    _seat: Option<OwnedSemaphorePermit>,
}

struct Preface {
    missing: usize,
    timeout: Pin<Box<Sleep>>,
}

impl<S> Connected for Accepted<S> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl<S: AsyncRead + Unpin> AsyncRead for Accepted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(preface) = &mut self.preface else { return read };
        if read.is_pending() {
            return preface.timeout.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        preface.missing = preface.missing.saturating_sub(buffer.filled().len() - before);
        if preface.missing == 0 {
            self.preface = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Accepted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio_stream::StreamExt as _;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    async fn accepted() -> (DuplexStream, Accepted<DuplexStream>) {
        let (client, server) = duplex(64);
        let mut server = Some(server);
        let stream = bounded(|_| server.take().map_or(Poll::Pending, |server| Poll::Ready(Ok(server))), 1, SOON);
        let accepted = pin!(stream).next().await.unwrap().unwrap();
        (client, accepted)
    }

    async fn times_out(mut reading: Accepted<DuplexStream>) -> bool {
        let read = tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut Vec::new())).await.unwrap();
        read.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }

    #[tokio::test]
    async fn who_says_nothing_or_only_half_the_preface_is_given_up() {
        let (_silent, reading) = accepted().await;
        assert!(times_out(reading).await);
        let (mut slow, reading) = accepted().await;
        slow.write_all(&[0; PREFACE_BYTES - 1]).await.unwrap();
        assert!(times_out(reading).await);
    }

    #[tokio::test]
    async fn who_sent_the_preface_may_be_silent() {
        let (mut client, mut reading) = accepted().await;
        client.write_all(&[0; PREFACE_BYTES]).await.unwrap();
        reading.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        let later = tokio::spawn(async move {
            sleep(3 * SOON).await;
            client.write_all(b"x").await.unwrap();
            client
        });
        assert_eq!(reading.read_u8().await.unwrap(), b'x');
        drop(later.await.unwrap());
    }

    #[tokio::test]
    async fn a_seat_is_free_again_when_its_connection_is_dropped() {
        let stream = bounded(|_| Poll::Ready(Ok(duplex(1).0)), 1, SOON);
        let mut stream = pin!(stream);
        let first = stream.next().await.unwrap().unwrap();
        let mut waits = Context::from_waker(std::task::Waker::noop());
        assert!(stream.as_mut().poll_next(&mut waits).is_pending());
        drop(first);
        assert!(stream.next().await.unwrap().is_ok());
    }
}
