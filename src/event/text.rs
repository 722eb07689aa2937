//! Texts of bodies in the form that the state keeps: bounded, and different where the bodies differ. Knows no field.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// A text from Fasten, opaque and never empty. `None` if Fasten never sent one.
pub type Text = Option<Arc<str>>;

/// Maximum length of a text of an entity. A body may hold longer ones; the event keeps them whole.
pub const TEXT_BYTES_MAX: usize = 2048;
/// Maximum length of the URL of a link: a URL that is cut opens nothing.
pub const URL_BYTES_MAX: usize = 16 * 1024;
/// Separates the first part of a cut text from the SHA-256 of the whole text, in base64url.
const CUT_MARK: &str = "\u{2026}cut sha256:";
const DIGEST_CHARS: usize = 43;

/// Bounds a text to [`TEXT_BYTES_MAX`]: a longer one becomes its first part, a mark and its digest, so that different
/// texts stay different. A text that is bounded already stays as it is.
pub fn bounded(text: &str) -> Cow<'_, str> {
    bounded_to(text, TEXT_BYTES_MAX)
}

pub fn bounded_to(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let first_max = bytes_max - CUT_MARK.len() - DIGEST_CHARS;
    let first = (0..=first_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(text));
    Cow::Owned(format!("{}{CUT_MARK}{digest}", &text[..first]))
}
