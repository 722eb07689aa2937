//! What connections and exports have in common: the realm they live in, the trail that events leave on them, and how long
//! their texts are.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::event::{ApiMode, Position, Timestamp};

/// A text as Fasten told it; opaque, never empty. None: never told.
pub type Text = Option<Arc<str>>;

/// The longest text of an entity. A body may hold longer ones; the event keeps them whole.
pub const TEXT_BYTES_MAX: usize = 2048;
/// The longest URL of a link: one that is cut opens nothing.
pub(super) const URL_BYTES_MAX: usize = 16 * 1024;
/// Stands between the first part of a text that was cut and the SHA-256 of all of it, in base64url.
const CUT_MARK: &str = "\u{2026}cut sha256:";
const DIGEST_CHARS: usize = 43;

/// A text of at most [`TEXT_BYTES_MAX`]: a longer one by its first part, a mark and its digest, so that different texts stay
/// different. A text that is bounded already stays as it is.
pub fn bounded(text: &str) -> Cow<'_, str> {
    bounded_to(text, TEXT_BYTES_MAX)
}

pub(super) fn bounded_to(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let first_max = bytes_max - CUT_MARK.len() - DIGEST_CHARS;
    let first = (0..=first_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(text));
    Cow::Owned(format!("{}{CUT_MARK}{digest}", &text[..first]))
}

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
