//! Keeps the views up with the log: one thread that reads, applies and publishes. It knows nobody who looks at them.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::views::Views;
use crate::log::{ReadError, Reader, Tail};

/// Behind, a swap makes the next changes dearer: whoever waits can wait this long.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(20);

/// A running projection.
pub struct Projection {
    /// Closed when the thread has ended; its last value stays.
    pub views: watch::Receiver<Arc<Views>>,
    /// Ends when the log is closed and all is applied, or with the damage that it met: the views then tell all before it.
    pub thread: JoinHandle<Result<(), ReadError>>,
}

/// Starts at the first event. `ring_len`: see [`Views::new`]. `published` is called after each swap, on the thread.
pub fn spawn(
    reader: Reader,
    ring_len: usize,
    runtime: Handle,
    published: impl Fn(&Views) + Send + 'static,
) -> io::Result<Projection> {
    let views = Views::new(ring_len);
    let (sender, receiver) = watch::channel(Arc::new(views.clone()));
    let tail = reader.tail(0);
    let projector = Projector { reader, tail, runtime, working: views, sender, published, last: Instant::now() };
    let thread = thread::Builder::new().name("cleat-projector".into()).spawn(move || projector.run())?;
    Ok(Projection { views: receiver, thread })
}

struct Projector<F> {
    reader: Reader,
    tail: Tail,
    runtime: Handle,
    /// Ahead of what is published, and shared with nobody until it is.
    working: Views,
    sender: watch::Sender<Arc<Views>>,
    published: F,
    /// When the last swap was.
    last: Instant,
}

impl<F: Fn(&Views)> Projector<F> {
    fn run(mut self) -> Result<(), ReadError> {
        let ended = self.follow();
        self.publish();
        ended
    }

    fn follow(&mut self) -> Result<(), ReadError> {
        while self.runtime.block_on(self.tail.wait()) {
            for event in self.tail.read()? {
                self.working.advance(&event);
            }
            let caught_up = self.working.position() >= self.reader.head().position;
            if caught_up || self.last.elapsed() >= PUBLISH_INTERVAL {
                self.publish();
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        self.sender.send_replace(Arc::new(self.working.clone()));
        (self.published)(&self.working);
        self.last = Instant::now();
    }
}
