//! Saves the index a run at a time, on a thread of its own. Losing a run costs time at the next start, and nothing else.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::super::Head;
use super::run::{Run, RunOrigin};
use super::{Digest, RunStore};
use crate::event::Position;
use crate::storage::{Pace, Pacer};

/// So many runs may wait for the disk; then whoever claims waits too.
const WAITING_MAX: usize = 8;

/// Takes the claims of what becomes durable, and sees to it that they are saved.
pub(in crate::log) struct Saver {
    origin: RunOrigin,
    run_events: u64,
    /// Where the last run ended.
    after: Position,
    /// Since then.
    claims: Vec<(Digest, Position)>,
    /// `None` once no run may follow: one could not be saved, or would cover what is not known.
    runs: Option<SyncSender<Run>>,
    thread: JoinHandle<()>,
}

impl Saver {
    /// For what comes after a position that saved runs reach. A run covers `run_events` positions or a few more.
    pub fn spawn(
        store: Arc<dyn RunStore>,
        origin: RunOrigin,
        run_events: u64,
        after: Position,
    ) -> std::io::Result<Self> {
        let (runs, waiting) = sync_channel(WAITING_MAX);
        let thread = thread::Builder::new().name("cleat-dedup".into()).spawn(move || save_all(&*store, waiting))?;
        Ok(Self { origin, run_events, after, claims: Vec::new(), runs: Some(runs), thread })
    }

    /// By an event that is, or will be, durable.
    pub fn claimed(&mut self, digest: Digest, position: Position) {
        if self.runs.is_some() {
            self.claims.push((digest, position));
        }
    }

    /// Saves no run any more: one would cover positions whose claims are not known now, and they would never be looked for again.
    pub fn suspend(&mut self) {
        if self.runs.take().is_some() {
            tracing::warn!("no dedup run is saved before the next start: the log cannot be read in places");
        }
        self.claims.clear();
    }

    /// Everything claimed so far is durable.
    pub fn durable(&mut self, head: Head) {
        let Some(runs) = self.runs.as_ref().filter(|_| head.position - self.after >= self.run_events) else { return };
        let after = mem::replace(&mut self.after, head.position);
        let run = Run { origin: self.origin, after, head, claims: mem::take(&mut self.claims) };
        if runs.send(run).is_err() {
            self.runs = None;
        }
    }

    /// Waits for what is being saved.
    pub fn stop(self) {
        drop(self.runs);
        if self.thread.join().is_err() {
            tracing::error!("the thread that saves dedup runs panicked");
        }
    }
}

fn save_all(store: &dyn RunStore, runs: Receiver<Run>) {
    let mut waiting = Waiting { runs, next: None, has_ended: false, pacer: Pacer::new() };
    while let Some(run) = waiting.next() {
        if let Err(error) = store.write(run.head.position, &run.encode(), &mut waiting) {
            tracing::warn!(%error, "no dedup run is saved any more: the next start has to read the log from here");
            return;
        }
    }
}

/// The runs that are to be saved: slowly, unless another one waits or there will be no more.
struct Waiting {
    runs: Receiver<Run>,
    /// Arrived in a pause.
    next: Option<Run>,
    has_ended: bool,
    pacer: Pacer,
}

impl Waiting {
    fn next(&mut self) -> Option<Run> {
        let next = self.next.take().or_else(|| self.runs.recv().ok());
        self.pacer.resume();
        next
    }
}

impl Pace for Waiting {
    fn is_slow(&self) -> bool {
        self.next.is_none() && !self.has_ended
    }

    fn pause(&mut self) {
        if self.is_slow() {
            match self.runs.recv_timeout(self.pacer.pause()) {
                Ok(run) => self.next = Some(run),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.has_ended = true,
            }
        }
        self.pacer.resume();
    }
}
