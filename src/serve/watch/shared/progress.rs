//! Progress of a watch, as its resume tokens have it. Knows nothing of what is watched.

use crate::event::{Cursor, Identity};
use crate::token::Token;

/// Where a watch goes on when it is resumed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ResumePoint {
    /// Inside a snapshot: the whole snapshot comes again.
    Snapshot,
    /// Everything up to here has been sent.
    After(Cursor),
}

/// Stands for [`ResumePoint::Snapshot`] in tokens. No event has position 0.
const IN_SNAPSHOT: Cursor = Cursor { position: 0, chain: [0xff; 8] };

impl ResumePoint {
    pub fn of(token: &Token) -> Self {
        if token.cursor == IN_SNAPSHOT { Self::Snapshot } else { Self::After(token.cursor) }
    }

    /// Returns a token without a filter and a fold.
    pub fn token(self, identity: Identity) -> Token {
        let cursor = match self {
            Self::Snapshot => IN_SNAPSHOT,
            Self::After(cursor) => cursor,
        };
        Token::read(identity, cursor)
    }
}
