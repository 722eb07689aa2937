//! Keeps the views up with the log: one thread that reads, applies, records and publishes. It knows nobody who looks at them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::ahead::{Ahead, Parsed};
use super::folding::Fold;
use super::generation::{Generation, ProjectionError, Retired};
use super::rebuild::{Rebuild, Rebuilder};
use super::views::Views;
use crate::blocklog::ReadError;
use crate::event::Position;
use crate::log::Reader;

/// Behind, whoever waits can wait this long.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(20);
/// At a stop a checkpoint is worth its while if folding again what it saves takes longer: a part of what is between two.
const WORTH_IT: u64 = 8;

pub struct Options {
    /// `<data>/views`.
    pub directory: PathBuf,
    /// See [`Fold::new`].
    pub ring_len: usize,
    /// A checkpoint is made after so many. A start folds these at most; some more under load.
    pub checkpoint_events: u64,
}

/// A running projection.
pub struct Projection {
    /// Closed when the thread has ended; its last value stays. Not to be read before it tells what was in the log at the start.
    pub views: watch::Receiver<Arc<Views>>,
    /// Ends when the log is closed and all is applied, or with what it failed of: the views then tell all before it.
    pub thread: JoinHandle<Result<(), ProjectionError>>,
}

/// Goes on where the last one was, as far as that can be known. `published` is called after each swap, on the thread.
pub fn spawn(
    reader: Reader,
    options: Options,
    runtime: Handle,
    published: impl Fn(&Views) + Send + 'static,
) -> io::Result<(Projection, Rebuild)> {
    let (sender, views) = watch::channel(Fold::new(options.ring_len).publish());
    let (rebuild, rebuilder, rebuilt) =
        Rebuild::new(reader.clone(), options.directory.clone(), options.ring_len, runtime.clone());
    let target = reader.head().position;
    let thread = thread::Builder::new().name("cleat-projector".into()).spawn(move || {
        let opened = Generation::open(&options.directory, &reader, options.ring_len);
        rebuilder.opened();
        let mut generation = opened?;
        let ahead = generation.ahead(&reader, &runtime)?;
        let projector = Projector {
            reader,
            ahead,
            runtime,
            generation,
            checkpoint_events: options.checkpoint_events,
            target,
            saving: None,
            retired: Vec::new(),
            rebuilder,
            rebuilt,
            sender,
            published,
            last: Instant::now(),
        };
        projector.run()
    })?;
    Ok((Projection { views, thread }, rebuild))
}

struct Projector<F> {
    reader: Reader,
    ahead: Ahead,
    runtime: Handle,
    /// Ahead of what is published.
    generation: Generation,
    checkpoint_events: u64,
    /// The head at the start.
    target: Position,
    /// The checkpoint that is being written.
    saving: Option<JoinHandle<()>>,
    retired: Vec<Retired>,
    rebuilder: Rebuilder,
    /// Brings the generation that is to take this one's place.
    rebuilt: mpsc::Receiver<Box<Generation>>,
    sender: watch::Sender<Arc<Views>>,
    published: F,
    /// When the last swap was.
    last: Instant,
}

impl<F: Fn(&Views)> Projector<F> {
    fn run(mut self) -> Result<(), ProjectionError> {
        let mut ended = self.follow();
        self.publish();
        if matches!(ended, Err(ProjectionError::Views(_)))
            && let Err(error) = self.generation.condemn()
        {
            tracing::error!(%error, "the views' checkpoints cannot be removed");
        }
        if ended.is_ok() {
            ended = self.finish();
        }
        self.rebuilt.close();
        self.rebuilder.stop();
        self.wait_until_saved();
        ended
    }

    fn follow(&mut self) -> Result<(), ProjectionError> {
        self.publish();
        while let Some(next) = self.runtime.block_on(next(&mut self.ahead, &mut self.rebuilt)) {
            match next {
                Next::Rebuilt(generation) => self.replace(generation)?,
                Next::Events(events) => self.generation.take(events.map_err(ProjectionError::Log)?)?,
            }
            let caught_up = self.generation.position() >= self.reader.head().position;
            if caught_up || self.last.elapsed() >= PUBLISH_INTERVAL {
                self.publish();
            }
            self.checkpoint(caught_up)?;
            self.retired.retain(|retired| !retired.removed());
        }
        Ok(())
    }

    fn publish(&mut self) {
        // Nobody reads before it has caught up with what was there at the start, and what nobody reads need not be kept.
        let catching_up = self.generation.position() < self.target;
        let views = if catching_up { self.generation.progress() } else { self.generation.publish() };
        self.sender.send_replace(views.clone());
        (self.published)(&views);
        self.last = Instant::now();
    }

    /// Begins one if it is due. Far behind, each would be old before it is whole: then only as the state doubles.
    fn checkpoint(&mut self, caught_up: bool) -> Result<(), ProjectionError> {
        let position = self.generation.position();
        let due = if caught_up { self.checkpoint_events } else { self.checkpoint_events.max(position / 2) };
        if position - self.generation.saved < due || self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return Ok(());
        }
        self.wait_until_saved();
        let save = self.generation.prepare_checkpoint(&self.reader)?;
        let thread = thread::Builder::new().name("cleat-checkpoint".into());
        let saving = thread.spawn(move || {
            if let Err(error) = save() {
                tracing::warn!(%error, position, "no checkpoint of the views was written");
            }
        });
        self.saving = Some(saving.map_err(ProjectionError::views)?);
        Ok(())
    }

    /// Goes on with a generation that was made beside this one, once it is as far.
    fn replace(&mut self, mut rebuilt: Box<Generation>) -> Result<(), ProjectionError> {
        let mut ahead = rebuilt.ahead(&self.reader, &self.runtime)?;
        while rebuilt.position() < self.generation.position()
            && let Some(events) = ahead.wait()
        {
            rebuilt.take(events.map_err(ProjectionError::Log)?)?;
        }
        self.ahead = ahead;
        self.wait_until_saved();
        let old = std::mem::replace(&mut self.generation, *rebuilt);
        // The next start takes the newest generation that has a checkpoint: from here on, this one.
        self.generation.prepare_checkpoint(&self.reader)?().map_err(ProjectionError::views)?;
        self.publish();
        self.retired.push(old.retire());
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ProjectionError> {
        self.wait_until_saved();
        let folded = self.generation.position() - self.generation.saved;
        if folded >= self.checkpoint_events / WORTH_IT {
            self.generation.prepare_checkpoint(&self.reader)?().map_err(ProjectionError::views)?;
            return Ok(());
        }
        self.generation.sync()
    }

    fn wait_until_saved(&mut self) {
        if self.saving.take().is_some_and(|saving| saving.join().is_err()) {
            tracing::error!("the thread that writes checkpoints panicked");
        }
    }
}

enum Next {
    Events(Result<Vec<Parsed>, ReadError>),
    Rebuilt(Box<Generation>),
}

/// None: all was read, and the log is closed.
async fn next(ahead: &mut Ahead, rebuilt: &mut mpsc::Receiver<Box<Generation>>) -> Option<Next> {
    tokio::select! {
        events = ahead.next() => events.map(Next::Events),
        Some(generation) = rebuilt.recv() => Some(Next::Rebuilt(generation)),
    }
}
