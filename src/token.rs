//! Tokens: opaque marks of a position in one epoch of one log. Not secret, and they grant nothing.
//!
//! A token names a position and grants no rights: every use is authorised again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::event::{Cursor, Identity};

const VERSION: u8 = 1;
const LEN: usize = 1 + 16 + 16 + 8 + 8 + 8 + 2 + 4;

/// A position, with enough context to detect that it is of another log, history, filter or fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub identity: Identity,
    pub cursor: Cursor,
    /// Hash of the filter of a watch; 0 for a read token. Pages of lists have tokens of their own.
    pub filter_hash: u64,
    /// Version of the fold whose states were shown; 0 for a token of the log alone.
    pub fold_version: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is not one of cleat's, or was cut or changed on its way")]
    Malformed,
    #[error("the token is of another version of cleat")]
    Version,
}

impl Token {
    /// A token that only means "everything up to here".
    pub fn read(identity: Identity, cursor: Cursor) -> Self {
        Self { identity, cursor, filter_hash: 0, fold_version: 0 }
    }

    /// URL-safe text of 84 characters.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.push(VERSION);
        bytes.extend(self.identity.to_bytes());
        bytes.extend(self.cursor.position.to_be_bytes());
        bytes.extend(self.cursor.chain);
        bytes.extend(self.filter_hash.to_be_bytes());
        bytes.extend(self.fold_version.to_be_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn decode(text: &str) -> Result<Self, TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed)?;
        match bytes.first() {
            Some(&VERSION) => {}
            Some(_) => return Err(TokenError::Version),
            None => return Err(TokenError::Malformed),
        }
        let bytes: [u8; LEN] = bytes.try_into().map_err(|_| TokenError::Malformed)?;
        let (mut rest, crc) = bytes.split_at(LEN - 4);
        if crc32c::crc32c(rest).to_be_bytes() != crc {
            return Err(TokenError::Malformed);
        }
        rest = &rest[1..];
        Ok(Self {
            identity: Identity::from_bytes(take(&mut rest)),
            cursor: Cursor { position: u64::from_be_bytes(take(&mut rest)), chain: take(&mut rest) },
            filter_hash: u64::from_be_bytes(take(&mut rest)),
            fold_version: u16::from_be_bytes(take(&mut rest)),
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (head, tail) = rest.split_at(N);
    *rest = tail;
    let mut out = [0; N];
    out.copy_from_slice(head);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        let identity = Identity { log_id: 7, epoch: u128::MAX };
        Token { filter_hash: 9, fold_version: 1, ..Token::read(identity, Cursor::new(42, &[3; 32])) }
    }

    #[test]
    fn a_token_survives_its_text() {
        assert_eq!(Token::decode(&token().encode()), Ok(token()));
    }

    #[test]
    fn any_changed_or_missing_character_is_noticed() {
        let text = token().encode();
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(Token::decode(std::str::from_utf8(&changed).unwrap()).is_err(), "at {at}");
            assert!(Token::decode(&text[..at]).is_err(), "cut at {at}");
        }
    }
}
