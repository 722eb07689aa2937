//! Requests that a watcher may make: a few choices that cover each way to match.

use cleat::proto::{ConnectionFilter, ConnectionStatus, WatchKind};

use super::history::Kind;
use super::story::State;

/// A request: `WatchConnections` with a filter, or `WatchEvents` for all events if `events` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asks {
    pub external_ids: &'static [&'static str],
    pub statuses: &'static [ConnectionStatus],
    pub kinds: &'static [WatchKind],
    pub events: bool,
    /// Includes the state before each change, and its event.
    pub with_all: bool,
}

const ALL: Asks = Asks { external_ids: &[], statuses: &[], kinds: &[], events: false, with_all: false };
pub const EVENTS: Asks = Asks { events: true, ..ALL };

/// Requests for connections and exports.
pub const ENTITIES: [Asks; 7] = [
    ALL,
    Asks { external_ids: &["patient-0"], ..ALL },
    Asks { statuses: &[ConnectionStatus::Authorized], ..ALL },
    Asks { kinds: &[WatchKind::Connection], external_ids: &["patient-1", "patient-2"], ..ALL },
    Asks { kinds: &[WatchKind::Export], statuses: &[ConnectionStatus::Revoked], ..ALL },
    Asks { external_ids: &["patient-2", "patient-3"], with_all: true, ..ALL },
    Asks { external_ids: &["nobody"], ..ALL },
];

impl Asks {
    pub fn filter(&self) -> ConnectionFilter {
        ConnectionFilter {
            external_ids: self.external_ids.iter().map(ToString::to_string).collect(),
            statuses: self.statuses.iter().map(|status| (*status).into()).collect(),
            ..ConnectionFilter::default()
        }
    }

    pub fn wants(&self, kind: Kind) -> bool {
        let named = |kind| self.kinds.is_empty() || self.kinds.contains(&kind);
        match kind {
            Kind::Event => self.events,
            Kind::Connection => !self.events && named(WatchKind::Connection),
            Kind::Export => !self.events && named(WatchKind::Export),
        }
    }

    pub fn matches(&self, connection: &State) -> bool {
        let patient = self.external_ids.is_empty() || self.external_ids.contains(&connection.external_id.as_str());
        patient && (self.statuses.is_empty() || self.statuses.contains(&connection.status))
    }
}
