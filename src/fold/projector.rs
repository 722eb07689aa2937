//! Keeps the views up with the log: one thread that reads, applies, records and publishes. Whatever goes wrong there, it starts
//! again from the last checkpoint until the log is closed: the log never waits for what is derived from it. It knows nobody
//! who looks at the views.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::folding::Fold;
use super::generation::{Files, Generation, Keeping, ProjectionError};
use super::intake::Intake;
use super::rebuild::{Rebuild, Rebuilder};
use super::views::Views;
use crate::event::{ParsedEvent, Position};
use crate::log::{HandOver, Reader};
use crate::segment::ReadError;

/// Behind, whoever waits can wait this long.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(20);
/// At a stop a checkpoint is worth its while if folding again what it saves takes longer: a part of what is between two. One
/// that could not be written is tried again after as many events.
const WORTH_IT: u64 = 8;
/// The pause after a failure doubles from the first to the longest, and starts over once an event further on fails. Each try
/// loads a checkpoint and folds what came after it.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(300);
/// The pause after the views are made again for a failed read, from its beginning. It doubles as long as that fails.
const REPAIR_PAUSE: Duration = Duration::from_secs(60);
const REPAIR_PAUSE_LONGEST: Duration = Duration::from_secs(6 * 3600);

/// The usual length of a full segment of the change log.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

pub struct Options {
    /// `<data>/views`.
    pub directory: PathBuf,
    /// See [`Fold::new`].
    pub ring_len: usize,
    /// A checkpoint is made after this number of events, or later if the state is large.
    pub checkpoint_events: u64,
    /// Length of a full segment of the change log.
    pub segment_bytes: u64,
    /// Free space that a repair leaves on the disk.
    pub disk_reserve: u64,
}

impl Options {
    pub(super) fn keeping(&self) -> Keeping {
        Keeping { ring_len: self.ring_len, segment_bytes: self.segment_bytes }
    }
}

/// A running projection.
pub struct Projection {
    /// Closed when the thread has ended; its last value stays. See [`Views::is_readable`].
    pub views: watch::Receiver<Arc<Views>>,
    pub phase: watch::Receiver<Phase>,
    /// Ends when the log is closed and all is applied that can be.
    pub thread: JoinHandle<()>,
}

/// How far the views are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// They do not yet cover what was in the log at the start of the projection, or when it started again.
    CatchingUp { through: Position },
    /// They cover that, and each event soon after it is durable.
    Following,
    /// They cannot go past the event before `position`. It is tried again, ever more seldom.
    Stalled { position: Position, reason: Arc<str>, is_log_damage: bool },
}

/// Goes on where the last one was, as far as that can be known. `published` is called after each swap, on the thread.
pub fn spawn(
    reader: Reader,
    hand_over: HandOver,
    options: Options,
    runtime: Handle,
    published: impl Fn(&Views) + Send + 'static,
) -> io::Result<(Projection, Rebuild)> {
    let (sender, views) = watch::channel(Fold::new(options.ring_len).progress());
    let (phases, phase) = watch::channel(Phase::CatchingUp { through: reader.head().position });
    let (rebuild, rebuilder, rebuilt) =
        Rebuild::new(reader.clone(), options.directory.clone(), options.keeping(), runtime.clone());
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

/// What outlives a failure.
struct Projector<F> {
    reader: Reader,
    hand_over: HandOver,
    options: Options,
    runtime: Handle,
    rebuilder: Rebuilder,
    /// Brings the generation that is to take the current one's place.
    rebuilt: mpsc::Receiver<Box<Generation>>,
    sender: watch::Sender<Arc<Views>>,
    phases: watch::Sender<Phase>,
    published: F,
    /// The last position that was applied.
    reached: Position,
    /// The generation of the last try. `None` if none could be opened.
    generation: Option<Files>,
    /// The position at which the views' files were found damaged and given up.
    condemned: Option<Position>,
    /// The views that serve until those that are made again have come as far. `None` if there are none.
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
            if self.is_closed_within(pause) {
                break;
            }
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
        self.rebuilt.close();
        self.rebuilder.stop();
    }

    /// Ends well when the log is closed and all is applied.
    fn attempt(&mut self) -> Result<(), ProjectionError> {
        let target = self.reader.head().position;
        let (directory, reader, keeping) = (&self.options.directory, &self.reader, self.options.keeping());
        let opened = self.rebuilder.alone(&mut self.rebuilt, || {
            catch_unwind(AssertUnwindSafe(|| Generation::open(directory, reader, keeping)))
        });
        let generation = opened.unwrap_or(Err(ProjectionError::Panicked))?;
        self.generation = Some(generation.files().clone());
        let intake = generation.intake(&self.reader, Some(self.hand_over.clone()), &self.runtime);
        let mut run = Run { generation, intake, target, saving: None, save_after: 0, last: None };
        let ended = catch_unwind(AssertUnwindSafe(|| run.follow(self)));
        self.reached = run.generation.position();
        run.wait_until_saved();
        ended.unwrap_or(Err(ProjectionError::Panicked))
    }

    /// Says where the views stand still and why. Damaged files are given up once: if the same event fails over new ones, it is not
    /// they that are wrong. What was read from them before is right, and serves until new ones have come as far; else the state is
    /// freed, so that a try never holds two.
    fn stall(&mut self, position: Position, error: &ProjectionError) {
        let (reason, is_log_damage): (Arc<str>, _) = (error.to_string().into(), error.is_log_damage());
        if matches!(error, ProjectionError::Damaged(_)) && self.condemned != Some(position) {
            tracing::error!(position, %error, "the views are made again; until then those that there are serve");
            self.condemned = Some(position);
            let condemned = self.generation.take().map_or(Ok(()), |files| files.remove_checkpoints());
            if let Err(error) = condemned {
                tracing::error!(%error, "the views' checkpoints cannot be removed");
            }
            // A try that fails before it has come as far shows that it stands still.
            let is_first = self.outdated.is_none();
            let views = self.sender.borrow().clone();
            self.outdated = Some(views).filter(|views| is_first && views.is_readable());
        } else {
            tracing::error!(position, %error, "the views cannot go on; webhooks are still taken, and it is tried again");
            self.outdated = None;
        }
        if self.outdated.is_none() {
            self.phases.send_replace(Phase::Stalled { position, reason, is_log_damage });
            self.sender.send_replace(Fold::new(self.options.ring_len).progress());
        }
    }

    fn is_closed_within(&self, pause: Duration) -> bool {
        let closed = async { tokio::time::timeout(pause, self.reader.closed()).await.is_ok() };
        self.runtime.block_on(closed)
    }
}

/// One try: from a checkpoint on, to the end of the log or to a failure.
struct Run {
    /// Ahead of what is published.
    generation: Generation,
    intake: Intake,
    /// The head at the start of the try.
    target: Position,
    saving: Option<Saving>,
    /// No checkpoint is tried before this position: the last one could not be written.
    save_after: Position,
    /// When the last swap was. `None` before the first.
    last: Option<Instant>,
}

/// A checkpoint that is being written.
struct Saving {
    thread: JoinHandle<io::Result<()>>,
    /// The position of the one before it.
    before: Position,
}

impl Run {
    fn follow<F: Fn(&Views)>(&mut self, projector: &mut Projector<F>) -> Result<(), ProjectionError> {
        self.publish(projector);
        while let Some(next) = projector.runtime.clone().block_on(self.next(projector)) {
            match next {
                Next::ReadFailed => self.repair(projector),
                Next::Rebuilt(generation) => self.replace(*generation, projector),
                Next::Events(events) => {
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
            self.checkpoint(caught_up, projector)?;
        }
        if self.intake.has_panicked() {
            return Err(ProjectionError::Panicked);
        }
        self.publish(projector);
        self.finish(projector);
        Ok(())
    }

    /// `None` if all was read, and the log is closed.
    async fn next<F>(&mut self, projector: &mut Projector<F>) -> Option<Next> {
        let Projector { rebuilder, rebuilt, next_repair, .. } = projector;
        let repair_is_due = async {
            self.generation.failed().await;
            rebuilder.idle().await;
            tokio::time::sleep_until((*next_repair).into()).await;
        };
        tokio::select! {
            events = self.intake.next() => events.map(Next::Events),
            Some(generation) = rebuilt.recv() => Some(Next::Rebuilt(generation)),
            () = repair_is_due => Some(Next::ReadFailed),
        }
    }

    /// Has the views made again; these serve until then, but for the files that cannot be read.
    fn repair<F: Fn(&Views)>(&mut self, projector: &mut Projector<F>) {
        // A rebuild that has just ended is as good.
        if let Ok(generation) = projector.rebuilt.try_recv() {
            return self.replace(*generation, projector);
        }
        projector.next_repair = Instant::now() + projector.repair_pause;
        projector.repair_pause = (projector.repair_pause * 2).min(REPAIR_PAUSE_LONGEST);
        if !self.generation.fits_twice(projector.options.disk_reserve) {
            tracing::error!("the disk has too little free space to make the views again");
            return;
        }
        tracing::info!("the views are made again, since their files cannot be read; until then they serve");
        if let Err(error) = projector.rebuilder.start() {
            tracing::error!(%error, "the views cannot be made again");
        }
    }

    fn publish<F: Fn(&Views)>(&mut self, projector: &mut Projector<F>) {
        self.last = Some(Instant::now());
        let position = self.generation.position();
        // Nobody reads before it has caught up with what was there at the start, and what nobody reads need not be kept.
        let catching_up = position < self.target;
        projector.outdated = projector.outdated.take().filter(|_| catching_up);
        self.generation.set_followed(!catching_up || projector.outdated.is_some());
        if let Some(outdated) = &projector.outdated {
            self.generation.progress();
            return (projector.published)(outdated);
        }
        let views = if catching_up { self.generation.progress() } else { self.generation.publish() };
        projector.sender.send_replace(views.clone());
        (projector.published)(&views);
        let next = if catching_up { Phase::CatchingUp { through: self.target } } else { Phase::Following };
        projector.phases.send_if_modified(|phase| {
            // A failure is over once its event is applied.
            let is_over = !matches!(phase, Phase::Stalled { position: at, .. } if catching_up && position < *at);
            let is_new = is_over && *phase != next;
            if is_new {
                if next == Phase::Following {
                    tracing::info!(position, "the views follow the log");
                }
                *phase = next;
            }
            is_new
        });
    }

    /// Begins one if it is due.
    fn checkpoint<F>(&mut self, caught_up: bool, projector: &Projector<F>) -> Result<(), ProjectionError> {
        let is_saving = self.saving.as_ref().is_some_and(|saving| !saving.thread.is_finished());
        if is_saving || !self.is_due(caught_up, projector) {
            return Ok(());
        }
        let position = self.generation.position();
        if !self.wait_until_saved() {
            self.save_after = position + projector.options.checkpoint_events / WORTH_IT;
        }
        // What was not written is still to be saved.
        if position < self.save_after || !self.is_due(caught_up, projector) {
            return Ok(());
        }
        let before = self.generation.saved;
        let save = self.generation.prepare_checkpoint(&projector.reader, position >= self.target)?;
        let thread = thread::Builder::new().name("cleat-checkpoint".into()).spawn(save);
        let thread = thread.map_err(ProjectionError::files("start a thread"))?;
        self.saving = Some(Saving { thread, before });
        Ok(())
    }

    /// Far behind, each would be old before it is whole: then only as the state doubles.
    fn is_due<F>(&self, caught_up: bool, projector: &Projector<F>) -> bool {
        let (position, every) = (self.generation.position(), projector.options.checkpoint_events);
        let events = if caught_up { every } else { every.max(position / 2) };
        position - self.generation.saved >= events && self.generation.has_outgrown_checkpoint()
    }

    /// Returns false if a checkpoint was being written and failed. If that was for a failed read, the views are made again.
    fn wait_until_saved(&mut self) -> bool {
        let Some(Saving { thread, before }) = self.saving.take() else { return true };
        let saved = thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes it panicked")));
        let Err(error) = saved else { return true };
        tracing::warn!(%error, position = self.generation.saved, "a checkpoint was not written; it is tried again");
        self.generation.saved = before;
        false
    }

    /// Goes on with a generation that was made beside this one. If that one cannot be completed, this one goes on.
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
                tracing::info!(position = self.generation.position(), "the rebuilt views serve");
                self.publish(projector);
                old.remove();
            }
            Err(error) => {
                tracing::error!(%error, "the rebuilt views cannot take over; those that serve go on");
                rebuilt.remove();
            }
        }
    }

    /// Brings a rebuilt generation as far as this one, and saves it: the next start takes the newest that has a checkpoint.
    fn complete<F>(&self, rebuilt: &mut Generation, projector: &Projector<F>) -> Result<(), ProjectionError> {
        let mut intake = rebuilt.intake(&projector.reader, None, &projector.runtime);
        while rebuilt.position() < self.generation.position()
            && let Some(events) = intake.wait()
        {
            rebuilt.take(events.map_err(ProjectionError::Log)?)?;
        }
        // Only a panic ends what is read ahead before that.
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

    /// Saves what is worth it. All of it can be made again: a failure is no reason to end otherwise.
    fn finish<F>(&mut self, projector: &Projector<F>) {
        self.wait_until_saved();
        if let Err(error) = self.save(projector) {
            tracing::error!(%error, "the views were not saved; the next start folds more");
        }
    }
}

enum Next {
    Events(Result<Vec<ParsedEvent>, ReadError>),
    Rebuilt(Box<Generation>),
    /// The change log could not be read, and it is time to make the views again.
    ReadFailed,
}
