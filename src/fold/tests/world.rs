//! Owns a real log with its projection in a directory, which can be stopped, killed, harmed and started again. Knows no
//! rule of the fold.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};

use super::owners::check_exports_at;
use super::reference::{Reference, held};
use super::*;
use crate::event::Identity;
use crate::fold::projector::{Projection, ProjectionOptions, ProjectionPhase, spawn};
use crate::fold::rebuild::Rebuild;
use crate::log::{self, Log};

pub(super) const CHECKPOINT_EVENTS: u64 = 20;
/// A few frames fill a segment.
const SEGMENT_BYTES: u64 = 4096;

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct World {
    pub directory: tempfile::TempDir,
    runtime: Runtime,
    clock: Arc<AtomicI64>,
    log: Log,
    pub projection: Projection,
    pub rebuild: Rebuild,
}

/// Why views cannot advance.
#[derive(Debug, PartialEq)]
pub(super) struct Stall {
    /// Position that they cannot pass.
    pub position: Position,
    pub reason: String,
    pub is_log_damage: bool,
}

pub(super) fn open_log(directory: &Path, clock: &Arc<AtomicI64>) -> Log {
    let clock = clock.clone();
    let time = log::TimeSource::trusted(Arc::new(move || Timestamp::from_micros(clock.load(Ordering::SeqCst))));
    let fresh = log::NewLog::new(Identity { log_id: 7, epoch: 8 }, [9; 32]);
    let usual = log::LogOptions::new(time, fresh);
    let options = log::LogOptions { batch_events: 16, hand_over_events: 8, dedup_run_events: 1000, ..usual };
    log::open(directory, options).unwrap()
}

fn project(directory: &Path, log: &Log, runtime: &Handle, checkpoint_events: u64) -> (Projection, Rebuild) {
    let options = ProjectionOptions {
        directory: directory.join("views"),
        ring_len: 4,
        checkpoint_events,
        segment_bytes: SEGMENT_BYTES,
        disk_reserve: 0,
    };
    spawn(log.reader.clone(), log.hand_over.clone(), options, runtime.clone(), |_| {}).unwrap()
}

impl World {
    pub fn new() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap(), Arc::default(), CHECKPOINT_EVENTS)
    }

    fn in_directory(directory: tempfile::TempDir, clock: Arc<AtomicI64>, checkpoint_events: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let log = open_log(directory.path(), &clock);
        let (projection, rebuild) = project(directory.path(), &log, runtime.handle(), checkpoint_events);
        Self { directory, runtime, clock, log, projection, rebuild }
    }

    pub fn advance_clock(&self, micros: i64) {
        self.clock.fetch_add(micros, Ordering::SeqCst);
    }

    pub fn append(&self, delivery: Delivery) {
        self.runtime.block_on(self.log.appender.append(delivery, log::TimeEvidence::Signed)).unwrap();
    }

    /// Appends all at once. Many at once are more than the hand-over holds: the fold then reads the events that it has
    /// missed, and joins again.
    pub fn append_all(&self, deliveries: Vec<Delivery>) {
        let mut appends = tokio::task::JoinSet::new();
        for delivery in deliveries {
            let appender = self.log.appender.clone();
            appends.spawn_on(
                async move { appender.append(delivery, log::TimeEvidence::Signed).await },
                self.runtime.handle(),
            );
        }
        let appended = self.runtime.block_on(appends.join_all());
        assert!(appended.iter().all(Result::is_ok));
    }

    pub fn append_body(&self, body: &Value) {
        self.append(event(0, 0, "acme", ModeVerdict::Live, &serde_json::to_vec(body).unwrap()).delivery);
    }

    /// Returns the views once they are up to date with the log.
    pub fn views(&mut self) -> Arc<Views> {
        let head = self.log.reader.head().position;
        let phase = self.projection.phase.clone();
        let reached = self.projection.views.wait_for(|views| views.position() >= head);
        let within = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, reached).await });
        within.unwrap_or_else(|_| panic!("the views do not come up: {:?}", phase.borrow())).unwrap().clone()
    }

    fn events(&self) -> Vec<Event> {
        let reader = &self.log.reader;
        (1..=reader.head().position).map(|at| reader.get(at).unwrap().unwrap()).collect()
    }

    /// Returns the state of the whole log by the written rules.
    pub fn expected(&self) -> Reference {
        Reference::of(&self.events())
    }

    /// Checks the exports of each connection at some earlier positions.
    pub fn check_past(&mut self) {
        let views = self.views();
        let events = self.events();
        for len in (1..=events.len()).rev().step_by(events.len() / 8 + 1) {
            check_exports_at(&views, len as u64, &Reference::of(&events[..len]));
        }
    }

    /// Checks that the views hold the state of the log.
    #[track_caller]
    pub fn check(&mut self) {
        let views = self.views();
        assert!(held(&views) == self.expected(), "at {}", views.position());
    }

    /// Stops all parts in order.
    fn stop(self) -> (tempfile::TempDir, Arc<AtomicI64>) {
        let Self { directory, runtime: _runtime, clock, log, projection, .. } = self;
        let Log { appender, reader, writer, .. } = log;
        drop((appender, reader));
        projection.thread.join().unwrap();
        drop(projection.views);
        writer.join().unwrap();
        (directory, clock)
    }

    pub fn restarted(self) -> Self {
        let (directory, clock) = self.stop();
        Self::in_directory(directory, clock, CHECKPOINT_EVENTS)
    }

    /// Starts again on the files that a kill leaves, which `harm` may damage further.
    pub fn killed(self, harm: impl FnOnce(&Path)) -> Self {
        self.killed_to_save(CHECKPOINT_EVENTS, harm)
    }

    /// Like [`Self::killed`], but no checkpoint is written after the start.
    pub fn killed_to_save_nothing(self, harm: impl FnOnce(&Path)) -> Self {
        self.killed_to_save(u64::MAX, harm)
    }

    fn killed_to_save(mut self, checkpoint_events: u64, harm: impl FnOnce(&Path)) -> Self {
        // The files must not change while they are copied.
        self.views();
        // A checkpoint may come, and an older one go, during the copy.
        let copies = std::iter::repeat_with(|| tempfile::tempdir().unwrap());
        let copy = copies.take(100).find(|copy| copy_all(self.directory.path(), copy.path()).is_ok()).unwrap();
        let (_, clock) = self.stop();
        harm(&copy.path().join("views"));
        Self::in_directory(copy, clock, checkpoint_events)
    }

    /// Waits until the views stall.
    pub fn wait_until_stalled(&mut self) -> Stall {
        let stalled = self.projection.phase.wait_for(|phase| matches!(phase, ProjectionPhase::Stalled { .. }));
        let within = async { tokio::time::timeout(PATIENCE, stalled).await.expect("they stall").unwrap().clone() };
        match self.runtime.block_on(within) {
            ProjectionPhase::Stalled { position, reason, is_log_damage } => {
                Stall { position, reason: reason.to_string(), is_log_damage }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits until there are no views to read.
    pub fn wait_until_unreadable(&mut self) {
        let unreadable = self.projection.views.wait_for(|views| !views.is_readable());
        let within = async { drop(tokio::time::timeout(PATIENCE, unreadable).await.expect("they go").unwrap()) };
        self.runtime.block_on(within);
    }

    /// Waits until the views follow the log again.
    pub fn wait_until_following(&mut self) {
        let follows = self.projection.phase.wait_for(|phase| *phase == ProjectionPhase::Following);
        let within = async { drop(tokio::time::timeout(PATIENCE, follows).await.expect("they follow").unwrap()) };
        self.runtime.block_on(within);
    }

    /// Begins a rebuild, once the last one has been handed over.
    pub fn begin_rebuild(&self) {
        while self.rebuild.reached().is_some() {
            std::thread::yield_now();
        }
        self.rebuild.start().unwrap();
    }

    pub fn phase(&self) -> ProjectionPhase {
        self.projection.phase.borrow().clone()
    }

    /// Waits until views of another fold are served, not only newer ones.
    pub fn wait_until_replaced(&mut self, old: &Views) {
        let replaced = self.projection.views.wait_for(|views| !Arc::ptr_eq(&views.shared, &old.shared));
        let within =
            async { drop(tokio::time::timeout(PATIENCE, replaced).await.expect("they are replaced").unwrap()) };
        self.runtime.block_on(within);
    }

    /// Returns the number of the newest generation. Older ones stay until it has a checkpoint at the head.
    pub fn generation(&self) -> u64 {
        let names = names(&self.directory.path().join("views"));
        names.iter().map(|name| name.parse::<u64>().unwrap()).max().unwrap()
    }
}

pub(super) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(super) fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let from = entry?.path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy_all(&from, &to)?;
        } else {
            std::fs::copy(from, to)?;
        }
    }
    Ok(())
}
