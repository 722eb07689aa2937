//! Owns the common parts of connections and exports: the realm that they belong to, and the trail that events leave on
//! them. Knows neither of the two.

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

    /// Returns the trail after one more event, or the trail of a first event.
    pub fn extend(trail: Option<&Lineage>, mark: EventRef) -> Lineage {
        match trail {
            Some(trail) => Lineage { version: trail.version + 1, first: trail.first, last: mark },
            None => Lineage { version: 1, first: mark, last: mark },
        }
    }
}

/// Replaces a known text by a reported one. If none is reported, the known one stays.
pub fn absorb(known: &mut Text, told: &Text) {
    // An equal text keeps its place in memory: most events repeat known texts.
    if told.is_some() && told != known {
        known.clone_from(told);
    }
}

/// Applies [`absorb`] to each fact: a fact survives its absence from later events.
pub fn absorb_facts(known: &mut Facts, told: &Facts) {
    absorb(&mut known.external_id, &told.external_id);
    absorb(&mut known.platform_type, &told.platform_type);
    absorb(&mut known.endpoint_id, &told.endpoint_id);
    absorb(&mut known.brand_id, &told.brand_id);
    absorb(&mut known.portal_id, &told.portal_id);
    absorb(&mut known.tefca_directory_id, &told.tefca_directory_id);
    absorb(&mut known.org_id, &told.org_id);
}
