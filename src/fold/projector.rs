//! Owns the views' progress along the log: one thread reads, applies, records and publishes. After any failure it
//! starts again from the last checkpoint, until the log is closed: the log never waits for data derived from it. Must
//! not know the readers of the views.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::engine::Fold;
use super::generation::{Files, Generation, Keeping, ProjectionError};
use super::intake::Intake;
use super::rebuild::{Rebuild, RebuildEnds, Rebuilder};
use super::views::Views;
use crate::event::{ParsedEvent, Position};
use crate::log::{HandOver, Reader};
use crate::segment::ReadError;
use crate::worker::Worker;

/// Publish at most this often while catching up.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(20);
/// Divisor of `checkpoint_events`: a stop writes a checkpoint if at least this share of them would have to be folded
/// again. A checkpoint that could not be written is tried again after as many events.
const WORTH_IT: u64 = 8;
/// The pause after a failure doubles from the first to the longest. It starts over once an event further on fails. Each
/// try loads a checkpoint and folds the events after it.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(300);
/// The pause after the views are made again for a failed read, from its beginning. It doubles as long as that fails.
const REPAIR_PAUSE: Duration = Duration::from_secs(60);
const REPAIR_PAUSE_LONGEST: Duration = Duration::from_secs(6 * 3600);

/// Usual length of a full segment of the change log.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

pub struct ProjectionOptions {
    /// `<data>/views`.
    pub directory: PathBuf,
    /// See [`Fold::new`].
    pub ring_len: usize,
    /// Number of events after which a checkpoint is made. A large state delays it.
    pub checkpoint_events: u64,
    /// Length of a full segment of the change log.
    pub segment_bytes: u64,
    /// Free space that a repair leaves on the disk.
    pub disk_reserve: u64,
}

impl ProjectionOptions {
    pub(super) fn keeping(&self) -> Keeping {
        Keeping { ring_len: self.ring_len, segment_bytes: self.segment_bytes }
    }
}

/// A running projection.
pub struct Projection {
    /// Closed once the thread has ended; the last value stays. See [`Views::is_readable`].
    pub views: watch::Receiver<Arc<Views>>,
    pub phase: watch::Receiver<ProjectionPhase>,
    /// Ends once the log is closed and every event that can be applied is applied.
    pub thread: JoinHandle<()>,
}

/// Progress of the views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProjectionPhase {
    /// They do not yet cover the events that were in the log when the projection started, or started again.
    CatchingUp { through: Position },
    /// They cover those events, and each new event soon after it is durable.
    Following,
    /// They cannot go past the event before `position`. Tries go on, with pauses that grow up to 5 minutes.
    Stalled { position: Position, reason: Arc<str>, is_log_damage: bool },
}

/// Starts the projection where the last one was, as far as that can be known. `published` is called after each
/// publication, on the projector's thread.
pub fn spawn(
    reader: Reader,
    hand_over: HandOver,
    options: ProjectionOptions,
    runtime: Handle,
    published: impl Fn(&Views) + Send + 'static,
) -> io::Result<(Projection, Rebuild)> {
    let (sender, views) = watch::channel(Fold::new(options.ring_len).progress());
    let (phases, phase) = watch::channel(ProjectionPhase::CatchingUp { through: reader.head().position });
    let RebuildEnds { rebuild, rebuilder, rebuilt } =
        RebuildEnds::new(reader.clone(), options.directory.clone(), options.keeping(), runtime.clone());
    let projector = Projector {
        reader,
        hand_over,
        options,
        runtime,
        rebuilder,
        rebuilt,
        sender,
        phases,
        published,
        reached: 0,
        generation: None,
        condemned: None,
        outdated: None,
        repair_pause: REPAIR_PAUSE,
        next_repair: Instant::now(),
    };
    let thread = thread::Builder::new().name("cleat-projector".into()).spawn(move || projector.run())?;
    Ok((Projection { views, phase, thread }, rebuild))
}

/// State that outlives a failure.
struct Projector<F> {
    reader: Reader,
    hand_over: HandOver,
    options: ProjectionOptions,
    runtime: Handle,
    rebuilder: Rebuilder,
    /// Delivers the generation that replaces the current one.
    rebuilt: mpsc::Receiver<Box<Generation>>,
    sender: watch::Sender<Arc<Views>>,
    phases: watch::Sender<ProjectionPhase>,
    published: F,
    /// Last position that was applied.
    reached: Position,
    /// Generation of the last try. `None` if none could be opened.
    generation: Option<Files>,
    /// Position at which the views' files were found damaged and were given up. `None` if that has not happened.
    condemned: Option<Position>,
    /// Views that serve until the views derived again have come as far. `None` if there are none.
    outdated: Option<Arc<Views>>,
    repair_pause: Duration,
    /// The views are not made again for a failed read before this.
    next_repair: Instant,
}

impl<F: Fn(&Views)> Projector<F> {
    fn run(mut self) {
        let mut pause = PAUSE_FIRST;
        let mut failed_at = 0;
        while let Err(error) = self.attempt() {
            if self.reached + 1 > failed_at {
                pause = PAUSE_FIRST;
            }
            failed_at = self.reached + 1;
            self.stall(failed_at, &error);
            if self.wait_until_closed(pause) {
                break;
            }
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
        self.rebuilt.close();
        self.rebuilder.stop();
    }

    /// Runs one try. Returns `Ok` once the log is closed and all events are applied.
    fn attempt(&mut self) -> Result<(), ProjectionError> {
        let target = self.reader.head().position;
        let directory = &self.options.directory;
        let reader = &self.reader;
        let keeping = self.options.keeping();
        let opened = self.rebuilder.open_alone(&mut self.rebuilt, || {
            catch_unwind(AssertUnwindSafe(|| Generation::open(directory, reader, keeping)))
        });
        let generation = opened.unwrap_or(Err(ProjectionError::Panicked))?;
        self.generation = Some(generation.files().clone());
        let intake = generation.intake(&self.reader, Some(self.hand_over.clone()), &self.runtime);
        let mut run = ProjectionAttempt { generation, intake, target, saving: None, save_after: 0, last: None };
        let ended = catch_unwind(AssertUnwindSafe(|| run.follow(self)));
        self.reached = run.generation.position();
        run.wait_until_saved();
        ended.unwrap_or(Err(ProjectionError::Panicked))
    }

    /// Reports where the views have stopped, and why. Gives damaged files up once at a position: if the same event
    /// fails with new files, the files are not the cause. Data read from them before is right, and serves until new
    /// ones have come as far. Otherwise the state is freed, so that a try never holds two states.
    fn stall(&mut self, position: Position, error: &ProjectionError) {
        let reason: Arc<str> = error.to_string().into();
        let is_log_damage = error.is_log_damage();
        if matches!(error, ProjectionError::Damaged(_)) && self.condemned != Some(position) {
            tracing::error!(position, %error, "rebuilding the views; the present ones, if any, serve until then");
            self.condemned = Some(position);
            if let Some(files) = self.generation.take()
                && let Err(error) = files.remove_checkpoints()
            {
                tracing::error!(%error, "the views' checkpoints cannot be removed");
            }
            // A second failure before the new views have come as far shows that the views do not advance.
            let is_first = self.outdated.is_none();
            let views = self.sender.borrow().clone();
            self.outdated = if is_first && views.is_readable() { Some(views) } else { None };
        } else {
            tracing::error!(
                position,
                %error,
                "the views are stalled; webhooks are still accepted, and the projector tries again"
            );
            self.outdated = None;
        }
        if self.outdated.is_none() {
            self.phases.send_replace(ProjectionPhase::Stalled { position, reason, is_log_damage });
            self.sender.send_replace(Fold::new(self.options.ring_len).progress());
        }
    }

    /// Waits until the log is closed, for `pause` at most. Returns whether it is.
    fn wait_until_closed(&self, pause: Duration) -> bool {
        let closed = async { tokio::time::timeout(pause, self.reader.closed()).await.is_ok() };
        self.runtime.block_on(closed)
    }
}

/// One try: from a checkpoint to the end of the log, or to a failure.
struct ProjectionAttempt {
    /// Ahead of the published views.
    generation: Generation,
    intake: Intake,
    /// Head at the start of the try.
    target: Position,
    saving: Option<Saving>,
    /// Position before which no checkpoint is tried, because the last one could not be written.
    save_after: Position,
    /// Time of the last publication. `None` if there was none.
    last: Option<Instant>,
}

/// Checkpoint that is being written.
struct Saving {
    thread: Worker<io::Result<()>>,
    /// Position of the checkpoint before it.
    before: Position,
}

impl ProjectionAttempt {
    fn follow<F: Fn(&Views)>(&mut self, projector: &mut Projector<F>) -> Result<(), ProjectionError> {
        self.publish(projector);
        while let Some(next) = projector.runtime.clone().block_on(self.next(projector)) {
            match next {
                Input::ReadFailed => self.repair(projector),
                Input::Rebuilt(generation) => self.replace(*generation, projector),
                Input::Events(events) => {
                    let taken = self.generation.take(events.map_err(ProjectionError::Log)?);
                    if taken.is_err() {
                        self.publish(projector);
                    }
                    taken?;
                }
            }
            let caught_up = self.generation.position() >= projector.reader.head().position;
            if caught_up || self.last.is_none_or(|last| last.elapsed() >= PUBLISH_INTERVAL) {
                self.publish(projector);
            }
            self.begin_due_checkpoint(caught_up, projector)?;
        }
        if self.intake.take_panicked() {
            return Err(ProjectionError::Panicked);
        }
        self.publish(projector);
        self.finish(projector);
        Ok(())
    }

    /// Returns the next input. `None` if all events were read and the log is closed, or if the reading thread has
    /// panicked.
    async fn next<F>(&mut self, projector: &mut Projector<F>) -> Option<Input> {
        let Projector { rebuilder, rebuilt, next_repair, .. } = projector;
        let repair_is_due = async {
            self.generation.failed().await;
            rebuilder.idle().await;
            tokio::time::sleep_until((*next_repair).into()).await;
        };
        tokio::select! {
            events = self.intake.next() => events.map(Input::Events),
            Some(generation) = rebuilt.recv() => Some(Input::Rebuilt(generation)),
            () = repair_is_due => Some(Input::ReadFailed),
        }
    }

    /// Starts a rebuild next to the current views, whose readable part serves meanwhile.
    fn repair<F: Fn(&Views)>(&mut self, projector: &mut Projector<F>) {
        // A rebuild that has just ended is as good.
        if let Ok(generation) = projector.rebuilt.try_recv() {
            return self.replace(*generation, projector);
        }
        projector.next_repair = Instant::now() + projector.repair_pause;
        projector.repair_pause = (projector.repair_pause * 2).min(REPAIR_PAUSE_LONGEST);
        if !self.generation.fits_twice(projector.options.disk_reserve) {
            tracing::error!("the disk has too little free space to rebuild the views; trying again after a pause");
            return;
        }
        tracing::info!("rebuilding the views, because their files cannot be read; the present ones serve until then");
        if let Err(error) = projector.rebuilder.start() {
            tracing::error!(%error, "cannot start a rebuild of the views");
        }
    }

    fn publish<F: Fn(&Views)>(&mut self, projector: &mut Projector<F>) {
        self.last = Some(Instant::now());
        let position = self.generation.position();
        // The views have no readers until they cover the events that were there at the start, so no state is kept for
        // any until then.
        let catching_up = position < self.target;
        if !catching_up {
            projector.outdated = None;
        }
        self.generation.set_followed(!catching_up || projector.outdated.is_some());
        if let Some(outdated) = &projector.outdated {
            self.generation.progress();
            return (projector.published)(outdated);
        }
        let views = if catching_up { self.generation.progress() } else { self.generation.publish() };
        projector.sender.send_replace(views.clone());
        (projector.published)(&views);
        let next =
            if catching_up { ProjectionPhase::CatchingUp { through: self.target } } else { ProjectionPhase::Following };
        projector.phases.send_if_modified(|phase| {
            // A failure is over once its event is applied.
            let is_over =
                !matches!(phase, ProjectionPhase::Stalled { position: at, .. } if catching_up && position < *at);
            let is_new = is_over && *phase != next;
            if is_new {
                if next == ProjectionPhase::Following {
                    tracing::info!(position, "the views follow the log");
                }
                *phase = next;
            }
            is_new
        });
    }

    /// Begins a checkpoint if one is due.
    fn begin_due_checkpoint<F>(&mut self, caught_up: bool, projector: &Projector<F>) -> Result<(), ProjectionError> {
        let is_saving = self.saving.as_ref().is_some_and(|saving| !saving.thread.is_finished());
        if is_saving || !self.is_due(caught_up, projector) {
            return Ok(());
        }
        let position = self.generation.position();
        if !self.wait_until_saved() {
            self.save_after = position + projector.options.checkpoint_events / WORTH_IT;
        }
        // If the last checkpoint failed, its changes are still to be saved.
        if position < self.save_after || !self.is_due(caught_up, projector) {
            return Ok(());
        }
        let before = self.generation.saved;
        let save = self.generation.prepare_checkpoint(&projector.reader, position >= self.target)?;
        let thread = Worker::spawn("cleat-checkpoint", save);
        let thread = thread.map_err(ProjectionError::files("start a thread"))?;
        self.saving = Some(Saving { thread, before });
        Ok(())
    }

    /// Returns whether a checkpoint is due. Far behind the log, it would be old before it is whole, so it is due only
    /// once the position has doubled.
    fn is_due<F>(&self, caught_up: bool, projector: &Projector<F>) -> bool {
        let position = self.generation.position();
        let every = projector.options.checkpoint_events;
        let events = if caught_up { every } else { every.max(position / 2) };
        position - self.generation.saved >= events && self.generation.has_outgrown_checkpoint()
    }

    /// Waits for the checkpoint that is being written. Returns false if it failed; if that was for a failed read, the
    /// views are rebuilt.
    fn wait_until_saved(&mut self) -> bool {
        let Some(Saving { thread, before }) = self.saving.take() else { return true };
        let saved = thread.join().unwrap_or_else(|| Err(io::Error::other("the writing thread panicked")));
        let Err(error) = saved else { return true };
        tracing::warn!(%error, position = self.generation.saved, "cannot write a checkpoint; trying again later");
        self.generation.saved = before;
        false
    }

    /// Replaces the generation by one that was made next to it. If that one cannot be completed, this one goes on.
    fn replace<F: Fn(&Views)>(&mut self, mut rebuilt: Generation, projector: &mut Projector<F>) {
        let completed = catch_unwind(AssertUnwindSafe(|| self.complete(&mut rebuilt, projector)));
        match completed.unwrap_or(Err(ProjectionError::Panicked)) {
            Ok(()) => {
                let hand_over = Some(projector.hand_over.clone());
                self.intake = rebuilt.intake(&projector.reader, hand_over, &projector.runtime);
                self.wait_until_saved();
                projector.generation = Some(rebuilt.files().clone());
                projector.repair_pause = REPAIR_PAUSE;
                let old = std::mem::replace(&mut self.generation, rebuilt);
                tracing::info!(position = self.generation.position(), "serving the rebuilt views");
                self.publish(projector);
                old.remove();
            }
            Err(error) => {
                tracing::error!(%error, "the rebuilt views cannot take over; the present ones keep serving");
                rebuilt.remove();
            }
        }
    }

    /// Advances a rebuilt generation as far as this one, and saves it: the next start takes the newest generation that
    /// has a checkpoint.
    fn complete<F>(&self, rebuilt: &mut Generation, projector: &Projector<F>) -> Result<(), ProjectionError> {
        let mut intake = rebuilt.intake(&projector.reader, None, &projector.runtime);
        while rebuilt.position() < self.generation.position()
            && let Some(events) = intake.wait()
        {
            rebuilt.take(events.map_err(ProjectionError::Log)?)?;
        }
        // Only a panic ends reading ahead before that.
        if rebuilt.position() < self.generation.position() {
            return Err(ProjectionError::Panicked);
        }
        let save = rebuilt.prepare_checkpoint(&projector.reader, false)?;
        Ok(save()?)
    }

    fn save<F>(&mut self, projector: &Projector<F>) -> Result<(), ProjectionError> {
        let folded = self.generation.position() - self.generation.saved;
        if folded < projector.options.checkpoint_events / WORTH_IT {
            return self.generation.sync();
        }
        let is_serving = self.generation.position() >= self.target;
        let save = self.generation.prepare_checkpoint(&projector.reader, is_serving)?;
        Ok(save()?)
    }

    /// Saves the views if that is worth it. A failure is only logged, since everything can be derived again.
    fn finish<F>(&mut self, projector: &Projector<F>) {
        self.wait_until_saved();
        if let Err(error) = self.save(projector) {
            tracing::error!(%error, "cannot save the views; the next start folds more events");
        }
    }
}

enum Input {
    Events(Result<Vec<ParsedEvent>, ReadError>),
    Rebuilt(Box<Generation>),
    /// The change log could not be read, and it is time to make the views again.
    ReadFailed,
}
