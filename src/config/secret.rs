//! A webhook secret: what it must be, and that nothing ever prints it, wherever in the file it was written.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The published secret of the development set-up. Anyone can sign with it, so it is refused wherever a stranger could
/// reach the door.
pub const DEVELOPMENT_SECRET: &str = "whsec_Y2xlYXQtZGV2ZWxvcG1lbnQtb25seS1zZWNyZXQtMDA=";
const DEVELOPMENT_KEY: &[u8] = b"cleat-development-only-secret-00";

/// How Fasten's portal begins every secret.
const PREFIX: &str = "whsec_";
const REDACTED: &str = "[redacted]";

/// Standard Webhooks asks for 24 bytes at least.
const KEY_BYTES_MIN: usize = 24;

/// One secret of an endpoint, decoded. The label is what logs and events call it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    label: String,
    key: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SecretError {
    #[error("is empty")]
    Empty,
    #[error("is not base64 after the optional `whsec_`")]
    NotBase64,
    #[error("decodes to {0} bytes; at least {KEY_BYTES_MIN} are needed")]
    Short(usize),
}

impl Secret {
    /// From the text that Fasten's portal shows: base64, after an optional `whsec_`.
    pub(super) fn decode(label: &str, text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        let key = STANDARD.decode(encoded).map_err(|_| SecretError::NotBase64)?;
        match key.len() {
            0 => Err(SecretError::Empty),
            bytes if bytes < KEY_BYTES_MIN => Err(SecretError::Short(bytes)),
            _ => Ok(Self { label: label.to_owned(), key }),
        }
    }

    pub fn label(&self) -> &str {
        &self.label
    }

    /// The bytes to sign with.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    pub fn is_development(&self) -> bool {
        self.key == DEVELOPMENT_KEY
    }
}

/// A name or a path that somebody wrote, as errors may show it: it can be a secret in the wrong place.
pub(super) fn shown(text: &str) -> &str {
    if looks_secret(text) { REDACTED } else { text }
}

pub(super) fn looks_secret(text: &str) -> bool {
    text.contains(PREFIX)
}

/// A message that quotes what was written: each word is shown or not by itself.
pub(super) fn shown_words(message: &str) -> String {
    let ends_word = |c: char| c.is_whitespace() || matches!(c, '`' | '"' | '\'');
    let mut told = String::with_capacity(message.len());
    for word in message.split_inclusive(ends_word) {
        let (text, end) = word.split_at(word.trim_end_matches(ends_word).len());
        told.extend([shown(text), end]);
    }
    told
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("label", &self.label).field("key", &format_args!("{REDACTED}")).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<Secret, SecretError> {
        Secret::decode("1", text)
    }

    #[test]
    fn the_prefix_is_optional() {
        let bare = DEVELOPMENT_SECRET.trim_start_matches("whsec_");
        assert_eq!(decode(bare), decode(DEVELOPMENT_SECRET));
        assert!(decode(DEVELOPMENT_SECRET).unwrap().is_development());
    }

    #[test]
    fn an_empty_short_or_unreadable_secret_is_refused() {
        assert_eq!(decode(""), Err(SecretError::Empty));
        assert_eq!(decode("whsec_"), Err(SecretError::Empty));
        assert_eq!(decode(&STANDARD.encode([7; 23])), Err(SecretError::Short(23)));
        assert!(decode(&STANDARD.encode([7; 24])).is_ok());
        assert_eq!(decode("whpk_AAAA"), Err(SecretError::NotBase64));
    }

    #[test]
    fn debug_shows_the_label_and_nothing_of_the_key() {
        assert_eq!(format!("{:?}", decode(DEVELOPMENT_SECRET).unwrap()), r#"Secret { label: "1", key: [redacted] }"#);
    }
}
