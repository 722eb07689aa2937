//! Owns the common parts of connections and exports: their realm, and the lineage that their events give them. Knows
//! neither of the two.

use std::sync::Arc;

use crate::event::{ApiMode, Facts, Position, Text, Timestamp};

/// One mode of one tenant. The states of two realms never affect each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realm {
    pub tenant: Arc<str>,
    pub mode: ApiMode,
}

/// Position and recording time of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRef {
    pub position: Position,
    pub recorded_at: Timestamp,
}

/// A position alone, stored as its distance from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelativePosition(pub Position);

/// Events of an entity: their number, the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// Number of events: 1, 2, 3, ... without gaps.
    pub version: u64,
    pub first: EventRef,
    pub last: EventRef,
}

impl Lineage {
    /// Lineage of an entity that no event has touched.
    pub const NONE: Lineage = {
        let nowhere = EventRef { position: 0, recorded_at: Timestamp::from_micros(0) };
        Lineage { version: 0, first: nowhere, last: nowhere }
    };

    /// Returns the lineage after one more event, or the lineage of a first event.
    pub fn extend(lineage: Option<&Lineage>, event: EventRef) -> Lineage {
        match lineage {
            Some(lineage) => Lineage { version: lineage.version + 1, first: lineage.first, last: event },
            None => Lineage { version: 1, first: event, last: event },
        }
    }
}

/// Replaces a known text by a reported one. If none is reported, the known one stays.
pub fn absorb(known: &mut Text, reported: &Text) {
    // An equal text keeps its place in memory: most events repeat known texts.
    if reported.is_some() && reported != known {
        known.clone_from(reported);
    }
}

/// Applies [`absorb`] to each fact: a fact survives its absence from later events.
pub fn absorb_facts(known: &mut Facts, reported: &Facts) {
    absorb(&mut known.external_id, &reported.external_id);
    absorb(&mut known.platform_type, &reported.platform_type);
    absorb(&mut known.endpoint_id, &reported.endpoint_id);
    absorb(&mut known.brand_id, &reported.brand_id);
    absorb(&mut known.portal_id, &reported.portal_id);
    absorb(&mut known.tefca_directory_id, &reported.tefca_directory_id);
    absorb(&mut known.org_id, &reported.org_id);
}
