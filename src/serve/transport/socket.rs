//! Socket of a connection: the peer must begin to speak soon and take the bytes written to it, and is read until it
//! closes. Knows nothing of the bytes' meaning.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::progress::STALL_TIMEOUT;
use crate::http::WriteDeadline;

const PREFACE_BYTES: usize = 24;
const PATIENCE: Patience =
    Patience { preface: Duration::from_secs(10), write: STALL_TIMEOUT, farewell: Duration::from_secs(5) };

#[derive(Clone, Copy)]
struct Patience {
    /// Time for the client's preface. After it the server's own pings detect a silent client.
    preface: Duration,
    /// Time for the client to take more of the bytes written.
    write: Duration,
    /// Time for the client to close after our side has.
    farewell: Duration,
}

pub(super) struct Socket<S> {
    stream: S,
    /// `None` once the preface has arrived.
    preface: Option<Preface>,
    patience: Patience,
    write_deadline: WriteDeadline,
    /// Deadline for the client to close. Set once our side is closed.
    farewell: Option<Pin<Box<Sleep>>>,
}

struct Preface {
    missing: usize,
    timeout: Pin<Box<Sleep>>,
}

impl<S> Socket<S> {
    pub fn new(stream: S) -> Self {
        Self::with(stream, PATIENCE)
    }

    fn with(stream: S, patience: Patience) -> Self {
        let preface = Some(Preface { missing: PREFACE_BYTES, timeout: Box::pin(sleep(patience.preface)) });
        Self { stream, preface, patience, write_deadline: WriteDeadline::new(patience.write), farewell: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.write_deadline.bound(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.write_deadline.bound(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.write_deadline.bound(context, flushed)
    }

    /// Closes our side, and then reads until the client closes, too. A client that still sends, if only window updates,
    /// would otherwise find the connection broken, and lose the last bytes on their way to it.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, patience, farewell, .. } = &mut *self;
        if farewell.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
        }
        let farewell = farewell.get_or_insert_with(|| Box::pin(sleep(patience.farewell)));
        let mut discarded = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut discarded);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                // The client has closed. The way it did so no longer matters.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return farewell.as_mut().poll(context).map(Ok),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const HOUR: Duration = Duration::from_secs(3600);
    const LATE: Patience = Patience { preface: HOUR, write: HOUR, farewell: HOUR };

    fn connected(patience: Patience) -> (DuplexStream, Socket<DuplexStream>) {
        let (client, server) = duplex(64);
        (client, Socket::with(server, patience))
    }

    async fn times_out(mut reading: Socket<DuplexStream>) -> bool {
        let read = tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut Vec::new())).await.unwrap();
        read.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_without_a_whole_preface_is_given_up() {
        let (_silent, reading) = connected(Patience { preface: SOON, ..LATE });
        assert!(times_out(reading).await);
        let (mut slow, reading) = connected(Patience { preface: SOON, ..LATE });
        slow.write_all(&[0; PREFACE_BYTES - 1]).await.unwrap();
        assert!(times_out(reading).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sent_the_preface_may_be_silent() {
        let (mut client, mut reading) = connected(Patience { preface: SOON, ..LATE });
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
    async fn a_client_may_finish_sending_after_the_servers_last_byte() {
        let (mut client, mut server) = connected(LATE);
        let closes = tokio::spawn(async move { server.shutdown().await });
        client.read_to_end(&mut Vec::new()).await.unwrap();
        client.write_all(&[0; 5000]).await.unwrap();
        assert!(!closes.is_finished());
        drop(client);
        closes.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_closes_is_left_after_a_while() {
        let (_client, mut server) = connected(Patience { farewell: SOON, ..LATE });
        server.shutdown().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (_client, mut server) = connected(Patience { write: SOON, ..LATE });
        let error = server.write_all(&[0; 65]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
