//! Counts of the events that a watch must survive.

use std::collections::BTreeMap;

use super::history::{Bookmark, End, Fault, History, Session, Start, What};

/// Counts by name.
#[derive(Debug, Default)]
pub struct Counts(BTreeMap<&'static str, usize>);

impl Counts {
    pub fn add(&mut self, history: &History) {
        self.more("generations", history.generations.len());
        for fault in &history.faults {
            let name = match fault {
                Fault::Kill => "kills",
                Fault::Stop => "stops",
                Fault::Pause => "pauses",
                Fault::AnotherLog => "other logs",
                Fault::OlderCopy => "older copies",
            };
            self.more(name, 1);
        }
        self.more("events", history.generations.iter().map(|generation| generation.log.len()).sum());
        // A session that reached no daemon has tested nothing.
        let answered = |session: &&Session| session.end != End::NoStream;
        for session in history.watchers.iter().flatten().filter(answered) {
            self.session(session);
        }
    }

    fn session(&mut self, session: &Session) {
        let start = match &session.start {
            Start::Snapshot => "starts with a snapshot",
            Start::Live => "starts live",
            Start::After(_) => "starts after a position",
            Start::Spoilt(_) => "starts with a damaged token",
            Start::Token(Bookmark { in_snapshot: true, .. }) => "resumes inside a snapshot",
            Start::Token(bookmark) if bookmark.asks != session.asks => "resumes with another filter",
            Start::Token(bookmark) if bookmark.generation != session.generation => "resumes of another log or copy",
            Start::Token(_) => "resumes",
        };
        self.more(start, 1);
        let end = match &session.end {
            End::Refused(reason) if reason == "LOG_EPOCH_CHANGED" => "refused for another log",
            End::Refused(reason) if reason == "RESUME_TOKEN_FILTER_MISMATCH" => "refused for another filter",
            End::Refused(reason) if reason == "INVALID_RESUME_TOKEN" => "refused as damaged",
            End::Refused(_) => "refused at a stop",
            End::NoStream | End::Broken(_) => "cut off",
            End::Ended(reason) if reason == "WATCH_MAX_AGE" => "sent away for their age",
            End::Ended(_) => "sent away by a stop",
            End::Left => "left",
            End::Silent => "silent",
        };
        self.more(end, 1);
        self.more("slow reads", session.slow);
        for message in &session.received {
            match &message.what {
                What::Changes(rows) => {
                    self.more("changes", rows.len());
                    self.more("changes together", usize::from(rows.len() > 1));
                }
                What::SnapshotEnd => self.more("whole snapshots", 1),
                What::FellBehind => self.more("fell behind", 1),
                What::Heartbeat => self.more("heartbeats", 1),
                What::CaughtUp => self.more("caught up", 1),
                What::Started { .. } | What::Snapshot(_) | What::GoingAway => {}
            }
        }
    }

    fn more(&mut self, name: &'static str, count: usize) {
        *self.0.entry(name).or_default() += count;
    }

    /// Checks that each of these came at least this often per history, on average.
    #[track_caller]
    pub fn at_least(&self, histories: usize, wanted: &[(&str, usize)]) {
        for (name, wanted) in wanted {
            let count = self.0.get(name).copied().unwrap_or_default();
            let wanted = wanted * histories;
            assert!(count >= wanted, "{count} {name}, {wanted} are asked, in {self:#?}");
        }
    }
}
