//! What connections and exports have in common: the realm they live in, and the trail that events leave on them.

use std::sync::Arc;

use crate::event::{ApiMode, Facts, Position, Text, Timestamp};

/// One tenant's one mode: the state of one realm never touches another's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realm {
    pub tenant: Arc<str>,
    pub mode: ApiMode,
}

/// Where, and when, an event was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub position: Position,
    pub recorded_at: Timestamp,
}

/// A position alone, stored as its distance from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(pub Position);

/// The events that made an entity what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trail {
    /// How many: 1, 2, 3, ... without gaps.
    pub version: u64,
    pub first: Mark,
    pub last: Mark,
}

impl Trail {
    /// Of what no event has touched.
    pub(super) const NONE: Trail = {
        let nowhere = Mark { position: 0, recorded_at: Timestamp::from_micros(0) };
        Trail { version: 0, first: nowhere, last: nowhere }
    };

    /// One event further, or the first.
    pub(super) fn extend(trail: Option<&Trail>, mark: Mark) -> Trail {
        match trail {
            Some(trail) => Trail { version: trail.version + 1, first: trail.first, last: mark },
            None => Trail { version: 1, first: mark, last: mark },
        }
    }
}

/// What is told replaces what was known; what is left out survives.
pub(super) fn absorb(known: &mut Text, told: &Text) {
    // An equal text keeps its place in memory: most events repeat what is known.
    if told.is_some() && told != known {
        known.clone_from(told);
    }
}

/// The same for each fact: it survives its absence from later events.
pub(super) fn absorb_facts(known: &mut Facts, told: &Facts) {
    absorb(&mut known.external_id, &told.external_id);
    absorb(&mut known.platform_type, &told.platform_type);
    absorb(&mut known.endpoint_id, &told.endpoint_id);
    absorb(&mut known.brand_id, &told.brand_id);
    absorb(&mut known.portal_id, &told.portal_id);
    absorb(&mut known.tefca_directory_id, &told.tefca_directory_id);
    absorb(&mut known.org_id, &told.org_id);
}
