//! The API's connections: so many at once, each must begin to speak soon, and is heard to its end. Knows nothing of what is
//! served.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
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

const PREFACE_BYTES: usize = 24;
const PATIENCE: Patience = Patience { preface: Duration::from_secs(10), farewell: Duration::from_secs(5) };

#[derive(Clone, Copy)]
struct Patience {
    /// For what a client begins with. After it the server's own pings find out who is silent.
    preface: Duration,
    /// For the client's end, after ours.
    farewell: Duration,
}

/// Every connection that comes, while there are seats.
pub(super) fn incoming<S>(
    poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
) -> impl Stream<Item = io::Result<Accepted<S>>> {
    bounded(poll_accept, CONNECTIONS_MAX, PATIENCE)
}

fn bounded<S>(
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    connections: usize,
    patience: Patience,
) -> impl Stream<Item = io::Result<Accepted<S>>> {
    let seats = Arc::new(Semaphore::new(connections));
    stream! {
        loop {
            let (stream, seat) = accept(&seats, &mut poll_accept).await;
            let preface = Some(Preface { missing: PREFACE_BYTES, timeout: Box::pin(sleep(patience.preface)) });
            yield Ok(Accepted { stream, preface, patience, farewell: None, _seat: seat });
        }
    }
}

/// A connection in its seat.
pub(super) struct Accepted<S> {
    stream: S,
    /// Until it has come.
    preface: Option<Preface>,
    patience: Patience,
    /// Since we have said all.
    farewell: Option<Pin<Box<Sleep>>>,
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Accepted<S> {
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

    /// Who is still speaking, if only of windows, would find the connection broken, and lose the last words that are on their
    /// way: so it is listened to until it closes, too.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, patience, farewell, .. } = &mut *self;
        if farewell.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
        }
        let farewell = farewell.get_or_insert_with(|| Box::pin(sleep(patience.farewell)));
        let mut unheard = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut unheard);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                // It has closed; how is nobody's concern any more.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return farewell.as_mut().poll(context).map(Ok),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio_stream::StreamExt as _;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(60);

    async fn accepted(preface: Duration, farewell: Duration) -> (DuplexStream, Accepted<DuplexStream>) {
        let (client, server) = duplex(64);
        let mut server = Some(server);
        let stream = bounded(
            |_| server.take().map_or(Poll::Pending, |server| Poll::Ready(Ok(server))),
            1,
            Patience { preface, farewell },
        );
        let accepted = pin!(stream).next().await.unwrap().unwrap();
        (client, accepted)
    }

    async fn times_out(mut reading: Accepted<DuplexStream>) -> bool {
        let read = tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut Vec::new())).await.unwrap();
        read.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }

    #[tokio::test]
    async fn who_says_nothing_or_only_half_the_preface_is_given_up() {
        let (_silent, reading) = accepted(SOON, LATE).await;
        assert!(times_out(reading).await);
        let (mut slow, reading) = accepted(SOON, LATE).await;
        slow.write_all(&[0; PREFACE_BYTES - 1]).await.unwrap();
        assert!(times_out(reading).await);
    }

    #[tokio::test]
    async fn who_sent_the_preface_may_be_silent() {
        let (mut client, mut reading) = accepted(SOON, LATE).await;
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
    async fn who_is_told_the_last_word_may_finish_its_own() {
        let (mut client, mut server) = accepted(LATE, LATE).await;
        let closes = tokio::spawn(async move { server.shutdown().await });
        client.read_to_end(&mut Vec::new()).await.unwrap();
        client.write_all(&[0; 5000]).await.unwrap();
        assert!(!closes.is_finished());
        drop(client);
        closes.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_never_closes_is_left_after_a_while() {
        let (_client, mut server) = accepted(LATE, SOON).await;
        server.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_seat_is_free_again_when_its_connection_is_dropped() {
        let stream = bounded(|_| Poll::Ready(Ok(duplex(1).0)), 1, PATIENCE);
        let mut stream = pin!(stream);
        let first = stream.next().await.unwrap().unwrap();
        let mut waits = Context::from_waker(std::task::Waker::noop());
        assert!(stream.as_mut().poll_next(&mut waits).is_pending());
        drop(first);
        assert!(stream.next().await.unwrap().is_ok());
    }
}
