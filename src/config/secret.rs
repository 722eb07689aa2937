//! A webhook secret: validated, never printed, wherever in the file it was written, and wiped from memory after use.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The published secret of the development setup. Anyone can sign with it, so it is refused wherever a stranger could
/// reach the door.
pub const DEVELOPMENT_SECRET: &str = "whsec_Y2xlYXQtZGV2ZWxvcG1lbnQtb25seS1zZWNyZXQtMDA=";
const DEVELOPMENT_KEY: &[u8] = b"cleat-development-only-secret-00";

/// Prefix of every secret from Fasten's portal.
const PREFIX: &str = "whsec_";
const REDACTED: &str = "[redacted]";

/// Minimum length of a key in bytes, as Standard Webhooks requires.
const KEY_BYTES_MIN: usize = 24;
/// Length of [`KEY_BYTES_MIN`] bytes in base64.
const KEY_BASE64_MIN: usize = KEY_BYTES_MIN / 3 * 4;

/// Maximum length of the name of an endpoint, a tenant or a secret.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// One secret of an endpoint, decoded. The label is its name in logs and events.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    label: String,
    key: Zeroizing<Vec<u8>>,
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
    /// Decodes the text that Fasten's portal shows: base64, after an optional `whsec_`.
    pub(super) fn decode(label: &str, text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        let key = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SecretError::NotBase64)?);
        match key.len() {
            0 => Err(SecretError::Empty),
            bytes if bytes < KEY_BYTES_MIN => Err(SecretError::Short(bytes)),
            _ => Ok(Self { label: label.to_owned(), key }),
        }
    }

    pub fn label(&self) -> &str {
        &self.label
    }

    /// The signing key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    pub fn is_development(&self) -> bool {
        *self.key == DEVELOPMENT_KEY
    }
}

/// A name from the configuration, as errors may show it. Redacted unless it could be a name: it may be a misplaced
/// secret.
pub(super) fn shown(name: &str) -> &str {
    let could_be_name = name.len() <= NAME_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_graphic());
    if could_be_name { shown_path(name) } else { REDACTED }
}

/// Like [`shown`], but for a path, which may have any length and any characters.
pub(super) fn shown_path(path: &str) -> &str {
    if looks_secret(path) { REDACTED } else { path }
}

/// Whether a text contains the prefix, or a run that may be a key in base64. Long names without capitals, such as
/// hexadecimal digests, do not count.
pub(super) fn looks_secret(text: &str) -> bool {
    let in_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let in_path = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'/';
    let runs = text.split(|c| !in_base64(c));
    text.contains(PREFIX) || runs.filter(|run| run.len() >= KEY_BASE64_MIN).any(|run| !run.bytes().all(in_path))
}

/// Like [`looks_secret`], but for a path: several names in a row may be long and have capitals without being a secret.
pub(super) fn path_looks_secret(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.split('/').any(looks_secret) || (looks_secret(&text) && text.contains(['+', '=']))
}

/// A message that quotes the configuration, with each word redacted unless [`shown`] shows it.
pub(super) fn shown_words(message: &str) -> String {
    let ends_word = |c: char| c.is_whitespace() || matches!(c, '`' | '"' | '\'');
    let mut redacted = String::with_capacity(message.len());
    for word in message.split_inclusive(ends_word) {
        let (text, end) = word.split_at(word.trim_end_matches(ends_word).len());
        redacted.extend([shown(text), end]);
    }
    redacted
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
    fn a_key_in_a_path_looks_secret_and_long_paths_do_not() {
        for path in [
            DEVELOPMENT_SECRET,
            "/run/Zm9v+QUFB/QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
            "/run/MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
        ] {
            assert!(path_looks_secret(Path::new(path)), "{path}");
        }
        for path in [
            "/home/Alice/Projects/cleat/target/debug/deps",
            "/var/lib/docker/volumes/8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92/_data",
            "/var/lib/private/cleat",
        ] {
            assert!(!path_looks_secret(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_key_looks_secret_and_a_name_or_path_does_not() {
        for secret in [DEVELOPMENT_SECRET, &STANDARD.encode([7; 24]), &format!("x-{}!", STANDARD.encode([255; 32]))] {
            assert!(looks_secret(secret), "{secret}");
            assert_eq!((shown(secret), shown_path(secret)), (REDACTED, REDACTED));
        }
        for name in
            ["fasten", "2026-06", "a1b2c3d4-0000-4000-8000-000000000001", "/etc/cleat/secrets/of/the/production/site"]
        {
            assert_eq!(shown(name), name);
        }
        assert_eq!((shown("A b"), shown(&"x".repeat(65))), (REDACTED, REDACTED));
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
