//! Saves the index a run at a time, off the writer's path. Losing one costs time at the next start, and nothing else.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use super::super::Head;
use super::run::Run;
use super::{Digest, RunStore};
use crate::event::Position;
use crate::token::Identity;

/// So many runs' worth of claims may wait for the disk; then the writer waits.
const WAITING_MAX: u64 = 8;

/// What was claimed since the last run.
#[derive(Debug)]
pub(in crate::log) struct Young {
    pub after: Position,
    pub claims: Vec<(Digest, Position)>,
}

impl Young {
    /// Nothing yet, after a position.
    pub fn after(position: Position) -> Self {
        Self { after: position, claims: Vec::new() }
    }

    /// As a run that ends at `head`; what comes after it is young again.
    pub fn cut(&mut self, identity: Identity, head: Head) -> Run {
        let young = mem::replace(self, Self::after(head.position));
        Run { identity, after: young.after, head, claims: young.claims }
    }
}

/// Takes the claims of what has become durable, and sees to it that they are saved.
pub(in crate::log) struct Saver {
    identity: Identity,
    run_events: u64,
    young: Young,
    /// None once a run could not be saved: those after it would be of no use.
    runs: Option<SyncSender<Run>>,
    thread: JoinHandle<()>,
}

impl Saver {
    /// A run covers `run_events` positions or a few more.
    pub fn spawn(store: Arc<dyn RunStore>, identity: Identity, run_events: u64, young: Young) -> std::io::Result<Self> {
        let (runs, waiting) = sync_channel(1);
        let thread = thread::Builder::new().name("cleat-dedup".into()).spawn(move || save_all(&*store, &waiting))?;
        Ok(Self { identity, run_events, young, runs: Some(runs), thread })
    }

    /// `position` is in the commit that is being made.
    pub fn claimed(&mut self, digest: Digest, position: Position) {
        if self.runs.is_some() {
            self.young.claims.push((digest, position));
        }
    }

    /// Everything claimed so far is durable.
    pub fn durable(&mut self, head: Head) {
        let covered = head.position - self.young.after;
        let Some(runs) = self.runs.as_ref().filter(|_| covered >= self.run_events) else { return };
        let run = self.young.cut(self.identity, head);
        let sent = if covered < self.run_events * WAITING_MAX {
            runs.try_send(run)
        } else {
            runs.send(run).map_err(|unsent| TrySendError::Disconnected(unsent.0))
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(run)) => self.young = Young { after: run.after, claims: run.claims },
            Err(TrySendError::Disconnected(_)) => self.runs = None,
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

fn save_all(store: &dyn RunStore, runs: &Receiver<Run>) {
    while let Ok(run) = runs.recv() {
        if let Err(error) = store.write(run.head.position, &run.encode()) {
            tracing::warn!(%error, "no dedup run is saved any more: the next start has to read the log from here");
            return;
        }
    }
}
