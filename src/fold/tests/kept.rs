//! Owns a fold with its change log in a directory and checkpoints in memory, for many events or many restarts. Has no
//! log.

use tempfile::TempDir;

use super::*;
use crate::event::{Hash, Identity, Outcome, ParsedEvent, Point, Report, ReportKind};
use crate::fold::changes::{ChangeLog, Recorder};
use crate::fold::generation::checkpoint::{self, CheckpointHeader};
use crate::fold::projector::SEGMENT_BYTES;
use crate::fold::state::RestoredState;

pub(super) struct Kept {
    pub fold: Fold,
    ring_len: usize,
    now: i64,
    directory: TempDir,
}

const IDENTITY: Identity = Identity { log_id: 7, epoch: 8 };

impl Kept {
    pub fn new(ring_len: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let (recorder, changes) = open_change_log(&directory);
        let fold = Fold::recorded(RestoredState::default(), Point::default(), changes, recorder, ring_len);
        Self { fold, ring_len, now: 0, directory }
    }

    /// Restarts from a checkpoint of now.
    pub fn restarted(mut self) -> Self {
        self.fold.sync().unwrap();
        let views = self.fold.publish();
        let at = views.point();
        let header = CheckpointHeader { identity: IDENTITY, at };
        let bytes = checkpoint_bytes(&views, &header);
        drop((views, self.fold));

        let mut from = &bytes[..];
        assert!(checkpoint::read_header(&mut from).unwrap() == header);
        let state = checkpoint::read_state(&header, &mut from).unwrap();
        let (recorder, changes) = open_change_log(&self.directory);
        assert_eq!(changes.end(), (at.position, at.chain));
        let mut fold = Fold::recorded(state, at, changes, recorder, self.ring_len);
        assert!(checkpoint_bytes(&fold.publish(), &header) == bytes, "nothing of the state is lost");
        Self { fold, ..self }
    }

    pub fn advance_clock(&mut self, micros: i64) {
        self.now += micros;
    }

    pub fn fold_bodies(&mut self, bodies: impl IntoIterator<Item = Value>) {
        for body in bodies {
            let next = self.next(&serde_json::to_vec(&body).unwrap());
            self.fold.take(next).unwrap();
        }
    }

    /// Folds an event: an export of a connection is ready. Parses no JSON, which would take most of the time.
    pub fn fold_export(&mut self, connection_id: &str, task_id: &str) {
        let outcome = Outcome::Ready { links: Arc::default(), stats: None };
        let kind = ReportKind::Export { task_id: text(task_id), org_id: None, outcome };
        let mut next = self.next(b"");
        next.body.is_readable = true;
        next.body.report = Some(Report { connection_id: text(connection_id), date: None, kind });
        self.fold.take(next).unwrap();
    }

    fn next(&self, body: &[u8]) -> ParsedEvent {
        event(self.fold.position() + 1, self.now, "acme", ModeVerdict::Live, body).into()
    }
}

fn open_change_log(directory: &TempDir) -> (Recorder, Arc<ChangeLog>) {
    let changes = Arc::new(ChangeLog::open(directory.path(), IDENTITY, Hash::default(), 0).unwrap());
    (Recorder::new(changes.clone(), SEGMENT_BYTES).unwrap(), changes)
}

fn checkpoint_bytes(views: &Views, header: &CheckpointHeader) -> Vec<u8> {
    let mut bytes = Vec::new();
    checkpoint::write(views, header, &mut bytes).unwrap();
    bytes
}
