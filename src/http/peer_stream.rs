//! A stream whose peer must make progress: a write without progress fails after a time, and an idle connection ends
//! soon when seats are short. Reports to the connection's permit when it waits for the peer. Knows nothing of the bytes
//! on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::first_request::FirstRequest;
use super::seats::HttpPermit;
use super::write_deadline::WriteDeadline;

/// Maximum idle time of a connection while more than half of the seats are taken. `config.toml` documents it.
const IDLE_WHEN_CROWDED: Duration = Duration::from_secs(2);

pub(super) struct PeerStream<S> {
    stream: S,
    permit: Arc<HttpPermit>,
    first: Arc<FirstRequest>,
    write_deadline: WriteDeadline,
    /// End of the idle time of a connection. `None` unless the peer sends nothing between two requests.
    idle_until: Option<Instant>,
    /// Timer that fires no later than `idle_until`. It runs on through requests and is reset once it has fired: a timer
    /// for each request would cost more.
    idle_check: Option<Pin<Box<Sleep>>>,
}

impl<S> PeerStream<S> {
    pub fn new(stream: S, permit: Arc<HttpPermit>, first: Arc<FirstRequest>, write_timeout: Duration) -> Self {
        let write_deadline = WriteDeadline::new(write_timeout);
        Self { stream, permit, first, write_deadline, idle_until: None, idle_check: None }
    }

    /// Returns the result of a write, or an error if it has waited for the peer for too long. Reports to the permit
    /// when a write starts or stops waiting.
    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let was_blocked = self.write_deadline.is_running();
        let bounded = self.write_deadline.bound(context, written);
        let is_blocked = self.write_deadline.is_running();
        if is_blocked != was_blocked {
            self.permit.set_write_blocked(is_blocked);
        }
        bounded
    }

    /// Ready once the connection has been idle for long enough to end.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut until = *self.idle_until.get_or_insert_with(|| Instant::now() + IDLE_WHEN_CROWDED);
        let check = self.idle_check.get_or_insert_with(|| Box::pin(sleep_until(until)));
        loop {
            ready!(check.as_mut().poll(context));
            if check.deadline() >= until {
                if self.permit.is_crowded() {
                    return Poll::Ready(());
                }
                until = Instant::now() + IDLE_WHEN_CROWDED;
                self.idle_until = Some(until);
            }
            check.as_mut().reset(until);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PeerStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.first.record(&buffer.filled()[before..]);
            self.permit.record_bytes();
        }
        if read.is_pending() {
            self.permit.record_read_blocked();
        }
        if read.is_ready() || !self.permit.is_idle() {
            self.idle_until = None;
            return read;
        }
        ready!(self.poll_idle(context));
        self.permit.observer().count_evicted();
        // The reader sees a peer that closed between two requests.
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PeerStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.permit.record_flush();
        }
        self.judge(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, shut)
    }
}
